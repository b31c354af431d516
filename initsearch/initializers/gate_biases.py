"""Biases of the gates of an LSTM: a constant forget bias, and chrono initialization."""

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from initsearch.errors import ConfigError
from initsearch.initializers import draws
from initsearch.initializers.base import Facts, Initializer
from initsearch.initializers.distribution import Distribution
from initsearch.initializers.registry import register
from initsearch.initializers.simple import Constant

_FORGET, _INPUT = "forget_gate", "input_gate"


class _LstmBias(Initializer):
    """A bias that differs by gate; of the two that torch adds, one has the values and the other is zero."""

    needs: ClassVar[frozenset[str]] = frozenset({"part"})

    def resolved(self, facts: Facts) -> Initializer:
        """What fills the gate; 0 in the bias that is added to one with the values."""
        if facts.kind != "lstm" or facts.category != "bias":
            raise ConfigError(
                f"{self.name}: must fill the bias of an LSTM, but got the {facts.category} of {facts.kind}: "
                "use where: {kind: lstm} (for a GRU, where: {part: update_gate} with a constant)"
            )
        return Constant(0.0) if facts.adds_to else self._of_gate(facts.part)

    @abstractmethod
    def _of_gate(self, gate: str) -> Initializer:
        """What fills a gate."""


@register("forget_gate")
@dataclass(frozen=True)
class ForgetGate(_LstmBias):
    """The bias of an LSTM: `value` in the forget gate, 0 in all others, as Keras's `unit_forget_bias`.

    torch adds two biases: `bias_ih` carries the value, and `bias_hh` is zero. On a bare tensor, which is then
    the bias of the forget gate, every entry is `value`.

    Args:
        value: 1 by default; 2 to 5 are used for long sequences.

    Raises:
        ConfigError: In a plan, for anything but the bias of an LSTM.
    """

    formula: ClassVar[str] = "value in the forget gate, 0 in the others"
    source: ClassVar[str] = "Jozefowicz et al. 2015, section 2.2; Keras `unit_forget_bias`"

    value: float = 1.0

    def __post_init__(self) -> None:
        self._number("value")

    def _of_gate(self, gate: str) -> Initializer:
        return Constant(self.value if gate == _FORGET else 0.0)

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        self.drawn_from(fan_in, fan_out).draw_(out, generator)

    def moments(self, fan_in: float, fan_out: float) -> tuple[float, float]:
        """The value, and a deviation of 0."""
        return self.value, 0.0

    def drawn_from(self, fan_in: float, fan_out: float) -> Distribution:
        """The value."""
        return Distribution.constant(self.value)


@register("chrono")
@dataclass(frozen=True)
class Chrono(_LstmBias):
    """The bias of an LSTM for memories of up to `t_max` steps.

    b_forget = log U(1, t_max - 1) and b_input = -b_forget, unit by unit; the others are 0. A unit with forget
    bias b remembers for about 1 + exp(b) steps. Of torch's two biases, `bias_ih` carries the values. A bare
    tensor is filled as the gate `gate`.

    Args:
        t_max: The longest dependency in steps, > 2; for instance the length of the sequences.
        gate: `forget_gate` or `input_gate`. In a plan it comes from the parameter.

    Raises:
        ConfigError: In a plan, for anything but the bias of an LSTM.
    """

    formula: ClassVar[str] = "forget gate: log U(1, t_max − 1); input gate: minus that; others 0"
    source: ClassVar[str] = "Tallec and Ollivier 2018 (arXiv:1804.11188), eq. 16"

    t_max: float = 100.0
    gate: str = _FORGET

    def __post_init__(self) -> None:
        self._number("t_max", above=2.0)
        self._choice("gate", (_FORGET, _INPUT))

    def stream(self, facts: Facts) -> str:
        """Both gates draw the same values."""
        return f"{facts.name}[{_FORGET}]"

    def _of_gate(self, gate: str) -> Initializer:
        return replace(self, gate=gate) if gate in (_FORGET, _INPUT) else Constant(0.0)

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        steps = torch.empty(out.shape, dtype=out.real.dtype, device=out.device)
        draws.uniform_(steps, 1.0, self.t_max - 1, generator)
        out.copy_(steps.log_() if self.gate == _FORGET else steps.log_().neg_())

    def moments(self, fan_in: float, fan_out: float) -> tuple[float, float]:
        """Of log U(1, b), b = t_max - 1: mean b log b / (b - 1) - 1."""
        b = self.t_max - 1
        log = math.log(b)
        mean = b * log / (b - 1) - 1
        square = (b * (log * log - 2 * log + 2) - 2) / (b - 1)
        sign = 1.0 if self.gate == _FORGET else -1.0
        return sign * mean, math.sqrt(max(square - mean * mean, 0.0))
