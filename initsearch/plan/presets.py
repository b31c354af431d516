"""Named plans: several rules that belong together."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

# Kinds of heads that may start at zero. Not an embedding's weight that is also the head: it would be dead.
_HEADS = ("linear", "conv1d", "conv2d", "conv3d")
_CONVOLUTIONS = [f"conv{way}{rank}d" for way in ("", "_transpose") for rank in (1, 2, 3)]
# The layer of a detector that gives the classes, in torchvision, Detectron2, MMDetection and others.
_CLASS_LAYERS = (
    "cls_logits",
    "cls_score",
    "cls_pred",
    "retina_cls",
    "class_predictor",
    "class_embed",
)
# Zero convolutions in ControlNet's code and in diffusers.
_ZERO_LAYERS = (
    "zero_conv",
    "middle_block_out",
    "controlnet_down_blocks",
    "controlnet_mid_block",
    "cond_embedding.conv_out",
)
# The layer after attention, in the module that holds query, key and value as well.
_ATTENTION_OUTPUTS = tuple(
    f"*{module}.{layer}"
    for module in ("attn", "attention")
    for layer in ("proj", "out_proj", "c_proj", "o_proj")
)
# What `torch_default` draws of a linear layer, as a formula on its fans.
_TORCH_DEFAULT = {"name": "variance_scaling", "factor": 1 / 3, "distribution": "uniform"}
_NORMAL_02 = {"name": "normal", "std": 0.02}
_ALL: dict[str, Any] = {"weight": "he_normal", "bias": "zeros"}

#: Each in the form that `InitPlan.from_spec` reads. In a model without the parts of which a plan speaks, one
#: line warns of the rules that fill nothing.
PLANS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # Zhang, Dauphin and Ma 2019 (Fixup), section 3: the last layer of each branch and the head zero, inner
        # layers scaled by depth, all others He's. Its scalar multipliers and biases are parts of the model.
        "fixup": {
            "rules": [
                {"where": {"branch": "last"}, "weight": "zeros"},
                {"where": {"branch": "inner"}, "weight": "fixup_scaled"},
                {"where": {"role": "head", "kind": list(_HEADS)}, "weight": "zeros"},
                _ALL,
            ]
        },
        # Goyal et al. 2017, section 5.1: the gain of the norm after each branch's last layer is zero.
        "zero_gamma": {
            "rules": [{"where": {"branch": "last_norm"}, "weight": "zeros"}, _ALL],
        },
        # The last weight layer of each branch is zero: each block begins as the identity.
        "zero_last": {
            "rules": [{"where": {"branch": "last"}, "weight": "zeros"}, _ALL],
        },
        # Radford et al. 2019, section 2.3, and OpenAI's code: N(0, .02^2), and the last layer of each residual
        # branch divided by sqrt(2N), N layers. Norms keep 1 and 0.
        "gpt2": {
            "rules": [
                {
                    "where": {"branch": "last"},
                    "weight": {"name": "depth_scaled", "base": _NORMAL_02, "rule": "total"},
                    "bias": "zeros",
                },
                {"weight": _NORMAL_02, "bias": "zeros"},
            ]
        },
        # Nguyen and Salazar 2019: N(0, 2/(5d)); Wang, of GPT-J and GPT-NeoX: 2/(N sqrt(d)) for output
        # projections. d is the width of the model: the inputs of all layers but the last of each branch.
        "small_init": {
            "rules": [
                {
                    "where": {"branch": "last"},
                    "weight": {
                        "name": "depth_scaled",
                        "base": {"name": "variance_scaling", "factor": 4.0, "mode": "fan_out"},
                        "rule": "inverse",
                    },
                    "bias": "zeros",
                },
                {"weight": {"name": "variance_scaling", "factor": 0.4}, "bias": "zeros"},
            ]
        },
        # Wang et al. 2022 (DeepNet), figure 2 and table 1: Glorot's normal; value, output and feed-forward
        # layers times beta. Its factor alpha on the shortcut is a part of the model.
        "deepnet": {
            "rules": [
                {"where": {"part": ["query", "key"]}, "weight": "glorot_normal", "bias": "zeros"},
                {
                    "where": {"branch": ["inner", "last"]},
                    "weight": {"name": "depth_scaled", "base": "glorot_normal", "rule": "deepnet"},
                    "bias": "zeros",
                },
                {"where": {"kind": "embedding"}, "weight": "lecun_normal"},
                {"weight": "glorot_normal", "bias": "zeros"},
            ]
        },
        # Huang et al. 2020 (T-Fixup), section 3.2. It is meant for models without norms and without warm-up.
        "t_fixup": {
            "rules": [
                {"where": {"part": ["query", "key"]}, "weight": "glorot_uniform", "bias": "zeros"},
                {
                    "where": {"branch": ["inner", "last"]},
                    "weight": {"name": "depth_scaled", "base": "glorot_uniform", "rule": "t_fixup"},
                    "bias": "zeros",
                },
                {
                    "where": {"kind": "embedding"},
                    "weight": {"name": "depth_scaled", "base": "lecun_normal", "rule": "t_fixup"},
                },
                {"weight": "glorot_uniform", "bias": "zeros"},
            ]
        },
        # Andrychowicz et al. 2020, section 3.2, and CleanRL's layer_init: the last layer of the policy small.
        "ppo_heads": {
            "rules": [
                {
                    "where": {"role": "head", "name": ["*actor*", "*policy*", "*action*", "*pi"]},
                    "weight": {"name": "orthogonal", "gain": 0.01},
                    "bias": "zeros",
                },
                {
                    "where": {"role": "head", "name": ["*critic*", "*value*", "*vf"]},
                    "weight": {"name": "orthogonal", "gain": 1.0},
                    "bias": "zeros",
                },
                {"weight": {"name": "orthogonal", "gain": 2**0.5}, "bias": "zeros"},
            ]
        },
        # Radford, Metz and Chintala 2016, section 3, and PyTorch's example.
        "dcgan": {
            "rules": [
                {"where": {"kind": _CONVOLUTIONS}, "weight": _NORMAL_02},
                {
                    "where": {"kind": "batch_norm"},
                    "weight": {"name": "normal", "mean": 1.0, "std": 0.02},
                    "bias": "zeros",
                },
            ]
        },
        # Sitzmann et al. 2020, section 3.2 and supplement 1.5, for sin(30 x); biases as torch draws them.
        # Another frequency must change in the model as well: {name: siren, omega: ...}.
        "siren": {
            "rules": [
                {"where": {"role": "first"}, "weight": "siren_first", "bias": "torch_default"},
                {"weight": "siren", "bias": "torch_default"},
            ]
        },
        # Lin et al. 2017, section 4.1: the layer that gives the classes begins at a probability of .01.
        "focal_head": {
            "rules": [
                {
                    "where": {"name": [f"*{word}*" for word in _CLASS_LAYERS]},
                    "weight": {"name": "normal", "std": 0.01},
                    "bias": "focal_prior",
                }
            ]
        },
        # Le, Jaitly and Hinton 2015 (arXiv:1504.00941), section 3: for plain RNNs with ReLU.
        "irnn": {
            "rules": [
                {
                    "where": {"kind": "rnn", "name": "*weight_hh*"},
                    "weight": "identity",
                },
                {"weight": {"name": "normal", "std": 0.001}, "bias": "zeros"},
            ]
        },
        # Tallec and Ollivier 2018, eq. 16, for memories of up to 100 steps; weights stay as they are.
        "chrono": {"rules": [{"where": {"kind": "lstm"}, "bias": "chrono"}]},
        # Gu and Dao 2023 and the code of mamba_ssm: steps of .001 to .1, decays 1 to N, and the output
        # projections divided by the root of the number of layers.
        "mamba": {
            "rules": [
                {"where": {"name": "*A_log"}, "weight": "mamba_decay"},
                {"where": {"name": ["*.D", "D"]}, "weight": "ones"},
                {
                    "where": {"name": ["*dt_proj.bias", "*dt_bias"]},
                    "weight": "mamba_step",
                    "bias": "mamba_step",
                },
                {"where": {"name": "*dt_proj.weight"}, "weight": "torch_default"},
                {
                    "where": {"name": "*out_proj.weight"},
                    "weight": {"name": "depth_scaled", "base": _TORCH_DEFAULT, "rule": "blocks"},
                    "bias": "zeros",
                },
                {"where": {"kind": "embedding"}, "weight": _NORMAL_02},
                {"where": {"kind": "linear"}, "weight": "torch_default", "bias": "zeros"},
            ]
        },
        # Trockman and Kolter 2023, section 3; the rest as timm draws it. Sinusoidal position embeddings are a
        # part of the model.
        "mimetic": {
            "rules": [
                {
                    "where": {"part": ["query", "key", "value"]},
                    "weight": "mimetic",
                    "bias": "zeros",
                },
                {"where": {"name": list(_ATTENTION_OUTPUTS)}, "weight": "mimetic", "bias": "zeros"},
                {"weight": {"name": "truncated_normal", "std": 0.02}, "bias": "zeros"},
            ]
        },
        # Yang et al. 2022 (Tensor Programs V), table 3 and appendix D: the readout falls with 1/fan_in, queries
        # begin at zero. The learning rates come from `initsearch.mup`.
        "mup": {
            "rules": [
                {"where": {"part": "query"}, "weight": "zeros", "bias": "zeros"},
                {"where": {"kind": "embedding"}, "weight": _NORMAL_02},
                {"where": {"role": "head"}, "weight": "spectral", "bias": "zeros"},
                {"weight": "lecun_normal", "bias": "zeros"},
            ]
        },
        # YOLOv5: Detect._initialize_biases, for images of 640 pixels and strides of 8, 16 and 32.
        "yolo_head": {
            "rules": [{"where": {"role": "head", "kind": "conv2d"}, "bias": "yolo_head"}],
        },
        # Zhang et al. 2023 (ControlNet), section 3.1: convolutions that join a control begin at zero.
        "zero_conv": {
            "rules": [
                {
                    "where": {
                        "kind": _CONVOLUTIONS,
                        "name": [f"*{word}*" for word in _ZERO_LAYERS],
                    },
                    "weight": "zeros",
                    "bias": "zeros",
                }
            ]
        },
    }
)


#: Other names of plans.
ALIASES: Mapping[str, str] = MappingProxyType({"wang_init": "small_init"})


def list_plans() -> list[str]:
    """The named plans that `InitPlan.from_spec` knows, besides the names of initializers."""
    return sorted((*PLANS, *ALIASES))
