"""The candidates: what may have drawn a model's parameters, each with its cost in nats.

A candidate is a rule for all parameters of the model, such as He's normal or a standard deviation of .02. Its
cost is minus the logarithm of its prior probability, up to a constant: usual rules are cheap, each further
digit of a number costs ln 10. The numbers of a candidate are the shortest within the interval that a
parameter allows.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from initsearch.audit.fit import Array, Sums, pooled
from initsearch.audit.short_numbers import numbers_within, shortest_between, shortest_within
from initsearch.audit.units import Unit
from initsearch.initializers import (
    Initializer,
    Normal,
    TorchDefault,
    TruncatedNormal,
    Uniform,
    VarianceScaling,
)
from initsearch.initializers.distribution import Distribution
from initsearch.initializers.truncation import TWO_SIGMA_STD, truncated_moments

_PER_DIGIT = math.log(10)
#: Half the width of a scale's interval, in standard errors.
_STANDARD_ERRORS = 3.5
# Fewer entries show no mean.
_FEWEST_FOR_MEAN = 3
# A bounded distribution shows its bound to within 1/n: the interval's end is exceeded with probability e^-12.
_BOUND_NATS = 12.0
# Bounds of a truncated normal in standard deviations, and what each costs.
_BOUNDS = {2.0: 1.0, 3.0: 3.0, 1.0: 5.0, 4.0: 5.0, 2.5: 6.0}
# Factors on the variance, with the modes for which they are usual: LeCun, He, Glorot; half of He; torch's
# gain of tanh, 25/9.
_FACTORS = {1.0: 1.0, 2.0: 1.0, 25 / 9: 4.0, 0.5: 4.0, 4.0: 5.0}
_NAMES = {(1.0, "fan_in"): "lecun", (2.0, "fan_in"): "he", (1.0, "fan_avg"): "glorot"}
# Parameters whose fans have a meaning.
_LAYERS = ("weight", "bias")
# The cost of a factor that is one over the width of a head.
_PER_HEAD = 4.0
_MODES = ("fan_in", "fan_out", "fan_avg")


@dataclass(frozen=True, eq=False)
class Law:
    """A candidate.

    Attributes:
        label: Its name in the report.
        family: `normal`, `uniform` or `truncated_normal`.
        scales: For each unit the standard deviation before any truncation, or half the width of the range; NaN
            where the candidate says nothing.
        cost: In nats.
        center: The mean.
        bound: Of a truncated normal, in standard deviations.
        initializer: What a plan fills a unit with.
        labels: Its name for a unit, where that is not the label.
    """

    label: str
    family: str
    scales: Array
    cost: float
    initializer: Callable[[int], Initializer]
    center: float = 0.0
    bound: float = math.inf
    labels: Callable[[int], str] | None = None

    def label_of(self, unit: int) -> str:
        """Its name for a unit."""
        return self.labels(unit) if self.labels else self.label

    def distribution(self, unit: int) -> Distribution:
        """What the entries of a unit are drawn from."""
        scale = float(self.scales[unit])
        if self.family == "uniform":
            return Distribution.uniform(self.center - scale, self.center + scale)
        if self.family == "normal":
            return Distribution.normal(self.center, scale)
        return Distribution.truncated_normal(self.center, scale, -self.bound, self.bound)


class Candidates:
    """The sums of all units, from which candidates and their likelihoods are computed."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.units = units
        self.n = np.array([unit.sums.n for unit in units], dtype=np.float64)
        self.mean = np.array([unit.sums.mean for unit in units])
        self.square = np.array([unit.sums.square for unit in units])
        self.low = np.array([unit.sums.low for unit in units])
        self.high = np.array([unit.sums.high for unit in units])
        self.resolution = np.array([unit.resolution for unit in units])
        self.fans = {
            "module": np.array([unit.fans for unit in units]),
            "shape": np.array([unit.shape_fans for unit in units]),
        }
        self.width = np.array([(unit.slot.shape or (1,))[-1] for unit in units], dtype=np.float64)
        # Where a pass has shown residual branches, only their last layers are divided by the depth.
        self.deep = np.array(
            [not unit.slot.branches or unit.slot.branch == "last" for unit in units], dtype=bool
        )
        self.block = np.array([unit.block for unit in units])

    def log_likelihood(self, law: Law) -> Array:
        """Of each unit; minus infinity where the candidate says nothing or excludes an entry."""
        scale, n = law.scales, self.n
        square = self.square - 2 * law.center * self.mean + law.center**2
        largest = np.maximum(self.high - law.center, law.center - self.low)
        with np.errstate(all="ignore"):
            if law.family == "uniform":
                # A bound within the rounding of the largest entry is no more likely than that entry.
                likely = -n * np.log(2 * np.maximum(scale, largest))
                likely = np.where(np.isnan(scale), np.nan, likely)
                bound = scale
            else:
                likely = -n * (np.log(scale * math.sqrt(2 * math.pi)) + square / scale**2 / 2)
                bound = law.bound * scale
            if law.family == "truncated_normal":
                likely -= n * math.log(special.erf(law.bound / math.sqrt(2)))
            reach = largest - self.resolution * np.maximum(np.abs(self.high), np.abs(self.low))
            outside = ~np.isfinite(likely) | (reach > bound)
        return np.asarray(np.where(outside, -np.inf, likely))

    def laws(self) -> list[Law]:
        """All candidates, each once, the cheapest first."""
        found: dict[tuple[str, str], Law] = {}
        for law in (*self._usual(), *self._literal()):
            key = (law.label, law.family)
            if key not in found or law.cost < found[key].cost:
                found[key] = law
        return sorted(found.values(), key=lambda law: law.cost)

    def defaults(self) -> tuple[Array, list[Distribution | None]]:
        """The log-likelihood of each unit under its framework's own default, and that distribution."""
        likely = np.full(len(self.units), -np.inf)
        laws: list[Distribution | None] = [unit.default for unit in self.units]
        for i, law in enumerate(laws):
            if law is not None and law.kind in ("normal", "uniform"):
                center, scale = law.numbers
                if law.kind == "uniform":
                    center, scale = sum(law.numbers) / 2, (law.numbers[1] - law.numbers[0]) / 2
                scales = np.full(len(self.units), np.nan)
                scales[i] = scale
                one = Law("", law.kind, scales, 0.0, lambda _: TorchDefault(), center)
                likely[i] = self.log_likelihood(one)[i]
        return likely, laws

    def _pools(self) -> Iterator[tuple[int, Sums]]:
        """The sums of each unit, and of all siblings together, with the index of a unit that they speak for."""
        siblings: dict[object, list[int]] = defaultdict(list)
        for i, unit in enumerate(self.units):
            yield i, unit.sums
            siblings[unit.sibling, unit.fans].append(i)
            siblings[unit.group].append(i)
        for several in siblings.values():
            if len(several) > 1:
                yield several[0], pooled([self.units[i].sums for i in several])

    def _literal(self) -> Iterator[Law]:
        """Numbers that the entries allow, as such, as factors on fans, and divided by the depth."""
        whole = np.ones(len(self.units))
        for i, sums in self._pools():
            center = center_of(sums)
            for family, bound, cost in _families():
                low, high = interval_of(sums, family, center, bound, self.units[i].resolution)
                if not 0 < low <= high:
                    continue
                for number, digits in numbers_within(low, high):
                    price = cost + 1 + digits * _PER_DIGIT
                    yield literal(family, number * whole, center, bound, price)
                if center:
                    continue
                for text, divisor in self._depths(i):
                    at = float(divisor[i])
                    number, digits = shortest_within(low * at, high * at)
                    if digits <= 2:
                        price = cost + 1 + digits * _PER_DIGIT
                        law = literal(family, number / divisor, 0.0, bound, price)
                        base = literal(family, number * whole, 0.0, bound, 0.0).label
                        yield replace(law, label=f"{base} / {text}")
                if self.units[i].slot.category in _LAYERS:
                    yield from self._factors(i, family, bound, cost, (low, high))
            if center:
                yield from self._ranges(sums)

    def _ranges(self, sums: Sums) -> Iterator[Law]:
        """U(low, high) with the shortest bounds outside of the entries."""
        width = (sums.high - sums.low) * math.expm1(min(_BOUND_NATS / sums.n, 3.0))
        below, few = shortest_between(sums.low - width, sums.low)
        above, more = shortest_between(sums.high, sums.high + width)
        half = np.full(len(self.units), (above - below) / 2)
        yield Law(
            f"uniform({below:g}, {above:g})",
            "uniform",
            half,
            1 + (few + more) * _PER_DIGIT,
            lambda _: Uniform(above, below),
            (above + below) / 2,
        )

    def _depths(self, i: int) -> Iterator[tuple[str, Array]]:
        """What residual projections are divided by: the root of the number of branches or of the own index."""
        unit = self.units[i]
        whole = np.where(self.deep, 1.0, np.nan)
        if not self.deep[i]:
            return
        numbers = {unit.slot.branches, unit.blocks, 2 * unit.blocks}
        for count in sorted(number for number in numbers if number > 1):
            yield f"sqrt({count})", math.sqrt(count) * whole
        if unit.blocks > 2:
            yield "sqrt(2 (l + 1))", np.sqrt(2 * (self.block + 1.0)) * whole

    def _factors(
        self, i: int, family: str, bound: float, cost: float, interval: tuple[float, float]
    ) -> Iterator[Law]:
        """Variance scaling with a factor that is not a usual one."""
        ratio = _entry_std(family, bound)
        slot = self.units[i].slot
        head = slot.shape[0] / slot.heads if slot.heads else math.inf
        for mode in ("fan_in", "fan_out"):
            n = self._connections("module", mode)
            low, high = ((end * ratio) ** 2 * n[i] for end in interval)
            if mode == "fan_in" and low <= 1 / head <= high:
                # T5's queries, whose products are not divided by the root of the head's width.
                yield self._scaling(family, bound, "module", mode, 1 / head, cost + _PER_HEAD)
            inverse, shorter = shortest_within(1 / high, 1 / low)
            for factor, digits in (*numbers_within(low, high), (1 / inverse, shorter)):
                if digits > 2:
                    continue
                # Powers of ten far from 1 are no factors that people choose.
                far = max(abs(math.log10(factor)) - 2, 0.0)
                price = cost + 6 + (digits + far) * _PER_DIGIT
                yield self._scaling(family, bound, "module", mode, factor, price)

    def _usual(self) -> Iterator[Law]:
        """Rules that need no number from the data."""
        for family, bound, price in _families():
            if bound not in (2.0, math.inf):
                continue
            for fans in ("module", "shape"):
                for mode in _MODES:
                    for factor, cost in _FACTORS.items():
                        total = price + cost + (2.0 if fans == "shape" else 0.0)
                        total += 0.0 if (factor, mode) in _NAMES else 1.0
                        yield self._scaling(family, bound, fans, mode, factor, total)
        yield self._scaling("uniform", math.inf, "module", "fan_in", 1 / 3, 1.5)
        yield self._scaling("uniform", math.inf, "module", "fan_out", 1 / 3, 3.0)

    def _connections(self, fans: str, mode: str) -> Array:
        fan_in, fan_out = self.fans[fans].T
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
        weights = [unit.slot.category in _LAYERS for unit in self.units]
        return np.asarray(np.where(weights, n, np.nan), dtype=np.float64)

    def _scaling(
        self, family: str, bound: float, fans: str, mode: str, factor: float, cost: float
    ) -> Law:
        deviations = np.sqrt(factor / self._connections(fans, mode))
        if (family, fans, mode, factor) == ("normal", "module", "fan_in", 1.0):
            # Tables of unknown kind: LeCun's rule on their width is usual.
            deviations = np.where(np.isnan(deviations), 1 / np.sqrt(self.width), deviations)
        scales = deviations / _entry_std(family, bound)
        law = literal(family, scales, 0.0, bound, cost)
        label = _scaling_label(family, mode, factor)
        law = replace(law, label=label)
        if fans == "shape":
            law = replace(law, label=_scaling_label(family, mode, factor, shape=True))
        chosen = VarianceScaling(
            factor, mode, "untruncated_normal" if family == "normal" else family
        )

        def as_module(unit: int) -> bool:
            each = self.units[unit]
            is_weight = each.slot.category in _LAYERS
            return is_weight and (fans == "module" or each.fans == each.shape_fans)

        def initializer(unit: int) -> Initializer:
            by_rule = as_module(unit) and bound in (2.0, math.inf)
            return named(chosen) if by_rule else law.initializer(unit)

        def labels(unit: int) -> str:
            if self.units[unit].slot.category not in _LAYERS:
                return "normal(std=1/sqrt(width))"
            return label if as_module(unit) else law.label

        return replace(law, initializer=initializer, labels=labels)


def named(scaling: VarianceScaling) -> VarianceScaling:
    """The same draw in the dialect that has a name for it, if there is one."""
    if scaling.distribution == "untruncated_normal":
        return replace(scaling, distribution="normal")
    if scaling.distribution == "truncated_normal":
        return replace(scaling, distribution="normal", dialect="keras")
    return scaling


def _scaling_label(family: str, mode: str, factor: float, *, shape: bool = False) -> str:
    suffix = f"({mode} of the shape)" if shape else ""
    if name := _NAMES.get((factor, mode)):
        return (
            f"keras_{name}_normal{suffix}" if "truncated" in family else f"{name}_{family}{suffix}"
        )
    if factor == 2.0 and mode == "fan_out":
        return f"he_{family}{suffix or '(fan_out)'}"
    if factor == 1 / 3:
        return f"uniform(±1/sqrt({mode}{' of the shape' if shape else ''}))"
    return f"variance_scaling({factor:.4g}, {mode}{' of the shape' if shape else ''}, {family})"


def center_of(sums: Sums) -> float:
    """0, unless the mean is certainly not; then the shortest number within its interval."""
    error = math.sqrt(max(sums.square - sums.mean**2, 0.0) / sums.n)
    if sums.n < _FEWEST_FOR_MEAN or abs(sums.mean) <= 5 * error:
        return 0.0
    margin = _STANDARD_ERRORS * error
    number, _ = shortest_within(abs(sums.mean) - margin, abs(sums.mean) + margin)
    return math.copysign(number, sums.mean)


def interval_of(
    sums: Sums, family: str, center: float, bound: float, resolution: float
) -> tuple[float, float]:
    """The scales of a family that entries allow; empty (the first above the second) if there are none."""
    square = sums.square - 2 * center * sums.mean + center**2
    rms = math.sqrt(max(square, 0.0))
    margin = math.exp(min(_STANDARD_ERRORS / math.sqrt(2 * sums.n), 3.0))
    reach = max(sums.high - center, center - sums.low) * (1 - resolution)
    if family == "uniform":
        return reach, reach * math.exp(min(_BOUND_NATS / sums.n, 3.0))
    if family == "normal":
        return rms / margin, rms * margin
    scale = rms / truncated_moments(-bound, bound)[1]
    return max(scale / margin, reach / bound), scale * margin


def literal(family: str, scales: Array, center: float, bound: float, cost: float) -> Law:
    """A candidate whose plan has the numbers themselves."""

    def initializer(unit: int) -> Initializer:
        scale = float(f"{float(scales[unit]):.7g}")
        if family == "uniform":
            return Uniform(center + scale, center - scale if center else None)
        if family == "normal":
            return Normal(scale, center)
        return TruncatedNormal(scale, center, -bound, bound)

    scale = float(scales[0])
    mean = f"mean={center:g}, " if center else ""
    if family == "uniform":
        label = (
            f"uniform({center - scale:g}, {center + scale:g})" if center else f"uniform(±{scale:g})"
        )
    elif family == "normal":
        label = f"normal({mean}std={scale:g})"
    else:
        label = f"truncated_normal({mean}std={scale:g}, ±{bound:g})"
    return Law(label, family, scales, cost, initializer, center, bound)


def describe_law(law: Distribution) -> str:
    """A distribution as the report writes it."""
    if law.kind == "constant":
        return f"{law.numbers[0]:g}"
    if law.kind == "uniform":
        low, high = law.numbers
        return f"U(±{high:.4g})" if low == -high else f"U({low:.4g}, {high:.4g})"
    mean, std = law.numbers[:2]
    text = f"N({mean:.4g}, {std:.4g}²)"
    if law.kind == "truncated_normal":
        low, high = law.numbers[2:]
        text += f" within ±{high:.3g}σ" if low == -high else f" within {low:.3g}σ to {high:.3g}σ"
    return text


def _families() -> Iterator[tuple[str, float, float]]:
    """Each family with its bound and its cost."""
    yield "normal", math.inf, 0.0
    yield "uniform", math.inf, 0.0
    for bound, cost in _BOUNDS.items():
        yield "truncated_normal", bound, cost


def _entry_std(family: str, bound: float) -> float:
    """The standard deviation of an entry, in units of the scale."""
    if family == "uniform":
        return 1 / math.sqrt(3)
    if family == "normal":
        return 1.0
    return TWO_SIGMA_STD if bound == 2.0 else truncated_moments(-bound, bound)[1]
