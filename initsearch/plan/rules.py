"""One rule of a plan: where it holds, and what fills the weight and the bias there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any

from initsearch.errors import ConfigError, unknown_name
from initsearch.initializers import Initializer, get_initializer
from initsearch.layers import BRANCH_PLACES, Slot

#: Leaves a parameter as the framework made it. A word of plans, not an initializer.
KEEP = "keep"
ROLES = ("first", "hidden", "head")
# Conditions of which all values are known.
_CLOSED = {"role": ROLES, "branch": BRANCH_PLACES}

Spec = str | Mapping[str, Any] | Initializer | Callable[..., Any]


@dataclass(frozen=True)
class Where:
    """What a parameter must be for a rule to hold: all given conditions together.

    Attributes:
        activation: The activation that follows the layer (`relu`, `tanh`, ..., `none`).
        role: `first`, `hidden` or `head`.
        kind: What the layer is (`linear`, `conv2d`, `lstm`, `batch_norm`, ...).
        name: A glob over the parameter's or its module's qualified name (`features.*`).
        branch: Where in a residual branch: its `last` weight layer, an `inner` one, or the norm after
            the last one (`last_norm`).

    Each is one name or several of which one must hold; empty means any.
    """

    activation: tuple[str, ...] = ()
    role: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    name: tuple[str, ...] = ()
    branch: tuple[str, ...] = ()

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any] | None, argument: str = "where") -> "Where":
        """Read the `where:` of a rule.

        Args:
            spec: The conditions by name; None: there are none.
            argument: What is read, for the error.

        Raises:
            ConfigError: No mapping, a condition that does not exist, or one that is not a name.
        """
        if spec is not None and not isinstance(spec, Mapping):
            raise ConfigError(
                f"{argument} must be a mapping such as {{activation: relu}}, but got {spec!r}"
            )
        known = [field.name for field in fields(cls)]
        conditions: dict[str, tuple[str, ...]] = {}
        for key, value in (spec or {}).items():
            if key not in known:
                raise unknown_name("condition in where", key, known)
            several = isinstance(value, Sequence) and not isinstance(value, str)
            names = tuple(value) if several else (value,)
            if not names or not all(isinstance(name, str) for name in names):
                raise ConfigError(
                    f"where.{key} must be a name or a list of names, but got {value!r}"
                )
            if key in _CLOSED:
                for name in names:
                    if name not in _CLOSED[key]:
                        raise unknown_name(f"{key} in where", name, _CLOSED[key])
            conditions[key] = names
        return cls(**conditions)

    def spec(self) -> dict[str, Any]:
        """The conditions that are given, as YAML has them."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            key: names[0] if len(names) == 1 else list(names)
            for key, names in given.items()
            if names
        }

    def holds(self, slot: Slot) -> bool:
        """Whether the rule speaks of this parameter.

        Norms and parameters of no known kind are left alone by a rule that does not name them by
        `kind`, `name` or `branch`: an initializer of weights would destroy a norm's gain of one.
        """
        if slot.category not in ("weight", "bias") and not (self.kind or self.name or self.branch):
            return False
        return (
            (not self.activation or slot.activation in self.activation)
            and (not self.role or slot.role in self.role)
            and (not self.kind or slot.kind in self.kind)
            and (not self.branch or slot.branch in self.branch)
            and (
                not self.name
                or any(
                    fnmatchcase(name, glob)
                    for glob in self.name
                    for name in (slot.name, slot.module_name)
                )
            )
        )


@dataclass(frozen=True)
class Rule:
    """Where -> an initializer for the weight and one for the bias.

    Attributes:
        where: The conditions.
        weight: Fills weights; `None` leaves the question to the next rule that holds; `"keep"` answers it.
        bias: The same for biases. Where it is `None` and `weight` prescribes a bias (`Initializer.bias`:
            the edge of chaos does), that one fills the biases of the layers for which the rule holds.
    """

    where: Where
    weight: Initializer | str | None = None
    bias: Initializer | str | None = None

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> "Rule":
        """Read a rule: a mapping with `where`, `weight` and `bias`.

        Raises:
            ConfigError: A key that does not exist, an unknown initializer, or neither weight nor bias.
        """
        if not isinstance(spec, Mapping):
            raise ConfigError(
                f"a rule must be a mapping with where, weight and bias, but got {spec!r}"
            )
        for key in spec:
            if key not in ("where", "weight", "bias"):
                raise unknown_name("key in a rule", key, ("where", "weight", "bias"))
        rule = cls(
            Where.from_spec(spec.get("where")),
            read_choice(spec.get("weight")),
            read_choice(spec.get("bias")),
        )
        if rule.weight is None and rule.bias is None:
            raise ConfigError(f"a rule must give weight or bias, but got {dict(spec)!r}")
        return rule

    def spec(self) -> dict[str, Any]:
        """The rule as YAML has it."""
        result: dict[str, Any] = {}
        if conditions := self.where.spec():
            result["where"] = conditions
        for part in ("weight", "bias"):
            if (choice := getattr(self, part)) is not None:
                result[part] = choice_spec(choice)
        return result

    def choice(self, slot: Slot) -> Initializer | str | None:
        """What this rule says of a parameter for which it holds."""
        if slot.category not in ("bias", "norm_bias"):
            return self.weight
        if self.bias is None and slot.category == "bias":
            return prescribed_bias(self.weight)
        return self.bias


def prescribed_bias(weight: Initializer | str | None) -> Initializer | None:
    """What the initializer of a layer's weight prescribes for its bias; `None` if nothing."""
    return weight.bias() if isinstance(weight, Initializer) else None


def read_choice(spec: Spec | None) -> Initializer | str | None:
    """An initializer, `"keep"`, or `None` where nothing is said."""
    if spec is None:
        return None
    return KEEP if isinstance(spec, str) and spec == KEEP else get_initializer(spec)


def choice_spec(choice: Initializer | str) -> Any:
    """The shortest form of a choice that reads back as the same: a bare name where it is enough."""
    if isinstance(choice, str):
        return choice
    spec = choice.spec()
    return spec["name"] if set(spec) == {"name"} else spec
