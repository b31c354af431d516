"""One rule of a plan: which parameters it matches, and what fills their weights and biases."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any

from initsearch.checks import check_choice, check_keys, check_mapping, is_list
from initsearch.errors import ConfigError, quoted
from initsearch.initializers import Initializer, get_initializer
from initsearch.layers import BRANCH_PLACES, PARTS, Slot

#: Leaves a parameter as the framework made it. A word of plans, not an initializer.
KEEP = "keep"
#: Draws as torch does, by the kind of the layer.
TORCH_DEFAULT = "torch_default"
ROLES = ("first", "hidden", "head")
# Conditions with a fixed set of values.
_CLOSED = {"role": ROLES, "branch": BRANCH_PLACES, "part": PARTS}

Spec = str | Mapping[str, Any] | Initializer | Callable[..., Any]


@dataclass(frozen=True)
class Where:
    """Conditions on a parameter, all of which must be met.

    Each condition is one name or several, of which one must match; an empty one matches all.

    Attributes:
        activation: The activation that follows the layer (`relu`, `tanh`, ..., `none`).
        role: `first`, `hidden` or `head`.
        kind: The kind of layer (`linear`, `conv2d`, `lstm`, `batch_norm`, ...).
        name: A glob over the qualified name of the parameter or of its module (`features.*`).
        branch: The position in a residual branch: its `last` weight layer, an `inner` one, or the norm after
            the last one (`last_norm`).
        part: The part of a packed or fused parameter: a gate (`forget_gate`, `reset_gate`, ...), `query`,
            `key` or `value`; or a layer of its own that projects to one of these.
    """

    activation: tuple[str, ...] = ()
    role: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    name: tuple[str, ...] = ()
    branch: tuple[str, ...] = ()
    part: tuple[str, ...] = ()

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any] | None, argument: str = "where") -> "Where":
        """Read the `where:` of a rule.

        Args:
            spec: The conditions by name; None: no conditions.
            argument: What is read, for the error.

        Raises:
            ConfigError: Not a mapping, an unknown condition, or a condition that is not a name.
        """
        if spec is None:
            return cls()
        check_mapping(argument, spec, "{activation: relu}")
        check_keys("condition in where", spec, [field.name for field in fields(cls)])
        conditions: dict[str, tuple[str, ...]] = {}
        for key, value in spec.items():
            names = tuple(value) if is_list(value) else (value,)
            if not names or not all(isinstance(name, str) for name in names):
                raise ConfigError(
                    f"where.{key} must be a name or a list of names, but got {quoted(value)}: give a name"
                )
            for name in names:
                if key in _CLOSED:
                    check_choice(f"{key} in where", name, _CLOSED[key])
            conditions[key] = names
        return cls(**conditions)

    def spec(self) -> dict[str, Any]:
        """The conditions that are given, in the form of a YAML file."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            key: names[0] if len(names) == 1 else list(names)
            for key, names in given.items()
            if names
        }

    def matches(self, slot: Slot) -> bool:
        """Whether a parameter meets all conditions.

        A packed parameter meets a condition on its part if all of its parts do; see `Slot.pieces`.
        Norms and parameters of unknown kind are matched only by a rule that gives `kind`, `name` or `branch`:
        an initializer of weights would destroy a norm's gain of one.
        """
        if slot.category not in ("weight", "bias") and not (self.kind or self.name or self.branch):
            return False
        return (
            (not self.activation or slot.activation in self.activation)
            and (not self.role or slot.role in self.role)
            and (not self.kind or slot.kind in self.kind)
            and (not self.branch or slot.branch in self.branch)
            and (not self.part or all(part.label in self.part for part in slot.parts))
            and (
                not self.name
                or any(
                    fnmatchcase(name, glob)
                    for glob in self.name
                    for name in (slot.name, slot.module_name)
                )
            )
        )

    def may_match(self, slot: Slot) -> bool:
        """Whether a parameter would meet all conditions if it were known what follows its layer.

        True only if no pass has shown that, and `matches` is not true.
        """
        if slot.category not in ("weight", "bias") or not (self.activation or self.branch):
            return False
        known = slot.activation is not None and slot.activation_source == "trace"
        if known or self.matches(slot):
            return False
        open_activation = () if slot.activation is None else self.activation
        return replace(self, activation=open_activation, branch=()).matches(slot)


@dataclass(frozen=True)
class Rule:
    """Conditions, and the initializers of the weights and biases that meet them.

    Attributes:
        where: The conditions.
        weight: Fills weights. `"keep"` leaves them as the framework made them; `None`: the next matching rule
            applies.
        bias: The same for biases. If it is `None` and `weight` prescribes a bias (`Initializer.bias`, as the
            edge of chaos does), that one fills them.
    """

    where: Where
    weight: Initializer | str | None = None
    bias: Initializer | str | None = None

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> "Rule":
        """Read a rule: a mapping with `where`, `weight` and `bias`.

        Raises:
            ConfigError: An unknown key or initializer, or neither weight nor bias.
        """
        check_mapping("a rule", spec, "{where: {activation: relu}, weight: he_normal}")
        check_keys("key in a rule", spec, ("where", "weight", "bias"))
        rule = cls(
            Where.from_spec(spec.get("where")),
            read_choice(spec.get("weight")),
            read_choice(spec.get("bias")),
        )
        if rule.weight is None and rule.bias is None:
            raise ConfigError(
                f"a rule must give weight or bias, but got {quoted(dict(spec))}: add weight: he_normal"
            )
        return rule

    def spec(self) -> dict[str, Any]:
        """The rule in the form of a YAML file."""
        result: dict[str, Any] = {}
        if conditions := self.where.spec():
            result["where"] = conditions
        for part in ("weight", "bias"):
            if (choice := getattr(self, part)) is not None:
                result[part] = choice_spec(choice)
        return result

    def choice(self, slot: Slot) -> Initializer | str | None:
        """What fills a parameter that the rule matches; `None` if the rule does not set that category."""
        if slot.category not in ("bias", "norm_bias"):
            return self.weight
        if self.bias is None and slot.category == "bias":
            return prescribed_bias(self.weight)
        return self.bias


def prescribed_bias(weight: Initializer | str | None) -> Initializer | None:
    """The initializer that a layer's weight prescribes for its bias; `None` if it prescribes none."""
    return weight.bias() if isinstance(weight, Initializer) else None


def code_of(choice: Initializer | str | None) -> set[str]:
    """The dotted paths of Python code that a choice names, as an initializer, a base or an activation."""
    return code_in(choice.spec()) if isinstance(choice, Initializer) else set()


def code_in(spec: Any) -> set[str]:
    """The dotted paths of Python code that a plan's specification names; none of it is imported."""
    if not isinstance(spec, Mapping):
        return {spec} if isinstance(spec, str) and "." in spec else set()
    # The conditions of a rule hold names of layers, which have dots as well.
    chosen = [spec.get(key) for key in ("name", "activation", "base", "weight", "bias", "default")]
    return set[str]().union(*map(code_in, [*chosen, *(spec.get("rules") or ())]))


def read_choice(spec: Spec | None) -> Initializer | str | None:
    """An initializer or `"keep"`; `None` for no specification."""
    if spec is None:
        return None
    return KEEP if isinstance(spec, str) and spec == KEEP else get_initializer(spec)


def choice_spec(choice: Initializer | str) -> Any:
    """The shortest form that reads back as the same choice: a bare name if that is enough."""
    if isinstance(choice, str):
        return choice
    spec = choice.spec()
    return spec["name"] if set(spec) == {"name"} else spec
