"""Presets: named settings of the general formulas, one line each.

The normal in `glorot_normal`, `he_normal` and `lecun_normal` is torch's, which is not truncated; in the
presets that begin with `keras_` and `tf1_` it is truncated, as in those frameworks. Caffe's filler is
LeCun's uniform, and the NumPy formulas randn * sqrt(1 / n_in) and randn * sqrt(2 / (n_in + n_out)) are
LeCun's and Glorot's normals: they are aliases.
"""

from initsearch.initializers.registry import alias, preset
from initsearch.initializers.scaling import VarianceScaling as Scaling
from initsearch.initializers.simple import Constant
from initsearch.initializers.siren import Siren

GLOROT = "Glorot and Bengio 2010, eq. 12 and 16"
HE = "He et al. 2015, eq. 10"
LECUN = "LeCun et al. 1998, eq. 16"
TF1_XAVIER = "TF1 `xavier_initializer({})`"
TF1_SCALING = "TF1 `variance_scaling_initializer({})`"

N_AVG = "N(0, 2/(fan_in + fan_out))"
U_AVG = "U(±√(6/(fan_in + fan_out)))"
U_HE = "U(±√(6/fan_in))"
U_LECUN = "U(±√(3/fan_in))"
WIDENED = " within ±2σ, widened to keep its variance"
CUT = " within ±2σ"

preset("zeros", Constant(0.0), "0", "torch `zeros_`")
preset("ones", Constant(1.0), "1", "torch `ones_`")

preset("glorot_normal", Scaling(1, "fan_avg", "normal"), N_AVG, GLOROT)
preset("glorot_uniform", Scaling(1, "fan_avg", "uniform"), U_AVG, GLOROT)
preset("he_normal", Scaling(2, "fan_in", "normal"), "N(0, 2/fan_in)", HE)
preset("he_uniform", Scaling(2, "fan_in", "uniform"), U_HE, HE)
preset("lecun_normal", Scaling(1, "fan_in", "normal"), "N(0, 1/fan_in)", LECUN)
preset("lecun_uniform", Scaling(1, "fan_in", "uniform"), U_LECUN, LECUN)

alias("xavier_normal", "glorot_normal")
alias("xavier_uniform", "glorot_uniform")
alias("kaiming_normal", "he_normal")
alias("kaiming_uniform", "he_uniform")
alias("msra", "he_normal")
alias("msra_normal", "he_normal")
alias("msra_uniform", "he_uniform")
alias("caffe", "lecun_uniform")
alias("selu_lecun", "lecun_normal")
alias("numpy_xavier", "lecun_normal")
alias("numpy_glorot", "glorot_normal")

_avg, _in = "fan_avg", "fan_in"
_kn, _ku = ("normal", "keras"), ("uniform", "keras")
preset("keras_glorot_normal", Scaling(1, _avg, *_kn), N_AVG + WIDENED, "Keras `GlorotNormal`")
preset("keras_glorot_uniform", Scaling(1, _avg, *_ku), U_AVG, "Keras `GlorotUniform`")
preset("keras_he_normal", Scaling(2, _in, *_kn), "N(0, 2/fan_in)" + WIDENED, "Keras `HeNormal`")
preset("keras_he_uniform", Scaling(2, _in, *_ku), U_HE, "Keras `HeUniform`")
preset(
    "keras_lecun_normal", Scaling(1, _in, *_kn), "N(0, 1/fan_in)" + WIDENED, "Keras `LecunNormal`"
)
preset("keras_lecun_uniform", Scaling(1, _in, *_ku), U_LECUN, "Keras `LecunUniform`")
alias("keras_variance_scaling", "keras_lecun_normal")

# The settings that the documentation of TF1's variance_scaling_initializer lists, and xavier_initializer.
_tn, _tu = ("normal", "tf1"), ("uniform", "tf1")
preset(
    "tf1_msra",
    Scaling(2, _in, *_tn),
    "N(0, 2.6/fan_in)" + CUT,
    TF1_SCALING.format("2, FAN_IN, False"),
)
preset("tf1_caffe", Scaling(1, _in, *_tu), U_LECUN, TF1_SCALING.format("1, FAN_IN, True"))
preset("tf1_xavier_uniform", Scaling(1, _avg, *_tu), U_AVG, TF1_XAVIER.format("uniform=True"))
preset(
    "tf1_xavier_normal",
    Scaling(1, _avg, *_tn),
    "N(0, 2.6/(fan_in + fan_out))" + CUT,
    TF1_XAVIER.format("uniform=False"),
)
alias("tf1_variance_scaling", "tf1_msra")
alias("variance_scaling_initializer", "tf1_msra")
alias("xavier_initializer", "tf1_xavier_uniform")

preset("siren_first", Siren(first=True), "U(±1/fan_in)", "Sitzmann et al. 2020, section 3.2")
