"""muP: learning rates and readout scales with which a wide model trains as a narrow one does."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from initsearch.checks import check_choice
from initsearch.errors import ModelError
from initsearch.layers import Slot, describe
from initsearch.layers.model import parameters
from initsearch.plan.plan import InitPlan
from initsearch.plan.rules import Rule, Spec, Where, read_choice

if TYPE_CHECKING:
    import pandas as pd

_OPTIMIZERS = ("adam", "sgd")


@dataclass(frozen=True)
class MupRow:
    """One parameter.

    Attributes:
        parameter: Its qualified name.
        role: `hidden` (inputs and outputs grow with the width), `input` (only outputs grow), `output` (only
            inputs grow), `vector` (biases, norms), or `fixed` (does not grow).
        fan_in_ratio: Its inputs, divided by those in the base model.
        fan_out_ratio: The same of its outputs.
        init_factor: What muP multiplies the deviation by, on top of a scheme with a deviation of fan_in^(-1/2).
        lr_factor: What it multiplies the base model's learning rate by.
        note: Remarks.
    """

    parameter: str
    role: str
    fan_in_ratio: float
    fan_out_ratio: float
    init_factor: float
    lr_factor: float
    note: str = ""


@dataclass(frozen=True)
class MupTable:
    """A row per parameter; see `mup`."""

    rows: tuple[MupRow, ...]
    optimizer: str

    def parameter_groups(self, model: nn.Module, lr: float) -> list[dict[str, Any]]:
        """Groups for a torch optimizer, in `configure_optimizers` or elsewhere, one for each learning rate.

        Args:
            model: The model of the table, with the same parameters.
            lr: The learning rate that was tuned on the base model.

        Example:
            >>> torch.optim.Adam(table.parameter_groups(model, lr=1e-3))
        """
        factors = {row.parameter: row.lr_factor for row in self.rows}
        groups: dict[float, list[nn.Parameter]] = defaultdict(list)
        for named in parameters(model):
            groups[factors[named.name]] += [each for _, each in named.sites[0].stored.originals]
        return [
            {"params": params, "lr": lr * factor, "lr_factor": factor}
            for factor, params in groups.items()
        ]

    def plan(self, scheme: Spec = "lecun_normal") -> InitPlan:
        """The initialization: a scheme for all weights, readouts smaller by `init_factor`; biases zero.

        Args:
            scheme: An initializer whose deviation falls with fan_in^(-1/2) (He, LeCun, ...).
        """
        small: dict[float, list[str]] = defaultdict(list)
        for row in self.rows:
            if row.init_factor != 1.0:
                small[row.init_factor].append(row.parameter)
        rules = [
            Rule(
                Where(name=tuple(names)),
                read_choice({"name": "depth_scaled", "base": scheme, "factor": factor}),
            )
            for factor, names in small.items()
        ]
        return InitPlan((*rules, Rule(Where(), read_choice(scheme), read_choice("zeros"))))

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows])

    def __str__(self) -> str:
        return self.to_frame().to_string(index=False)


def mup(model: nn.Module, base: nn.Module, optimizer: str = "adam", batch: Any = None) -> MupTable:
    """How learning rates and readouts of a model differ from those of a narrower one, by muP.

    The base model is the same architecture at the width at which the learning rate was tuned. With r, the
    growth of a parameter's inputs or outputs, the rules are those of table 3 of the paper:

    - hidden: Adam 1/r_in; SGD 1;
    - input, vector: Adam 1; SGD r_out;
    - output: Adam and SGD 1/r_in; its deviation 1/sqrt(r_in) times that of the scheme, so 1/fan_in in all.

    Attention's logits must be divided by the width of a head, not by its root: that is a part of the model.

    Args:
        model: The wide model; left as it was.
        base: The narrow one, with the same names of parameters.
        optimizer: "adam" (and its kin) or "sgd".
        batch: An input of both models; see `initsearch.diagnose`.

    Raises:
        ConfigError: Another optimizer.
        ModelError: The models have different parameters.

    Source: Yang et al. 2022 (Tensor Programs V, arXiv:2203.03466), table 3.

    Example:
        >>> table = initsearch.mup(Net(width=1024), Net(width=64))
        >>> table.plan().apply(model, seed=0)
        >>> optimizer = torch.optim.Adam(table.parameter_groups(model, lr=1e-3))
    """
    check_choice("optimizer", optimizer, _OPTIMIZERS)
    wide = describe(model, batch)
    narrow = {slot.name: slot for slot in describe(base, batch)}
    if different := {slot.name for slot in wide} ^ narrow.keys():
        raise ModelError(
            f"the base model must have the parameters of the model, but {sorted(different)[0]} is in one only: "
            "build both by the same class with another width"
        )
    return MupTable(tuple(_rows(wide, narrow, optimizer)), optimizer)


def _rows(wide: list[Slot], narrow: dict[str, Slot], optimizer: str) -> Iterator[MupRow]:
    for slot in wide:
        other = narrow[slot.name]
        grown = [size / least for size, least in zip(slot.shape, other.shape, strict=True) if least]
        inputs, outputs = slot.fan_in / other.fan_in, slot.fan_out / other.fan_out
        note = ""
        if slot.category != "weight":
            inputs, outputs = 1.0, max(grown, default=1.0)
            role = "vector" if outputs != 1.0 else "fixed"
        elif slot.kind == "embedding":  # a lookup has one input
            inputs = 1.0
            role = "input"
            if slot.tied_names:
                note = (
                    f"tied to {slot.tied_names[0]}: divide the logits by {outputs:g} in the model"
                )
        else:
            roles = {(True, True): "hidden", (False, True): "input", (True, False): "output"}
            role = roles.get((inputs != 1.0, outputs != 1.0), "fixed")
        rate, scale = 1.0, 1.0
        if role == "output":
            rate, scale = 1 / inputs, inputs**-0.5
        elif role == "hidden" and optimizer == "adam":
            rate = 1 / inputs
        elif role in ("input", "vector") and optimizer == "sgd":
            rate = outputs
        yield MupRow(slot.name, role, inputs, outputs, scale, rate, note)
