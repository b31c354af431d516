"""`InitPlan`: rules, resolved on a model to one assignment per parameter, and carried out."""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from initsearch.errors import ConfigError, ModelError, NoEffectWarning, unknown_name
from initsearch.files import write_whole
from initsearch.initializers import Initializer, list_initializers
from initsearch.layers import Slot, describe
from initsearch.plan.fill import Assignment, carry_out
from initsearch.plan.presets import PLANS
from initsearch.plan.report import InitReport, ParameterRow
from initsearch.plan.rules import (
    KEEP,
    Rule,
    Spec,
    Where,
    choice_spec,
    prescribed_bias,
    read_choice,
)

TORCH_DEFAULT = "torch_default"


@dataclass(frozen=True)
class InitPlan:
    """Ordered rules; for each parameter the first rule that holds and speaks of its part decides.

    Attributes:
        rules: The rules, the most particular first.
        weight: For weights of which no rule speaks: an initializer, or `"keep"` (as the framework made it).
        bias: The same for biases; if it is not given, what `weight` prescribes for them, if anything.

    Example:
        >>> plan = InitPlan.from_spec("he_normal")
        >>> report = plan.apply(model, seed=0)
    """

    rules: tuple[Rule, ...] = ()
    weight: Initializer | str = KEEP
    bias: Initializer | str = field(default=KEEP)

    @classmethod
    def from_spec(cls, spec: "Spec | InitPlan | os.PathLike[str]") -> "InitPlan":
        """Make a plan of a name, a mapping or a path.

        Args:
            spec: The name of an initializer or a mapping of one (every weight by it, biases zero or as
                it prescribes them, norms kept; `torch_default`: weights and biases as torch draws
                them; `keep`: everything as it is), the name of a plan (`fixup`, `zero_gamma`,
                `zero_last`), a mapping with `rules` and `default`, a path to a YAML file of it, or a
                plan.

        Raises:
            ConfigError: An unknown name or key, a value out of range, or a file that is no plan.
        """
        if isinstance(spec, InitPlan):
            return spec
        if isinstance(spec, os.PathLike) or (
            isinstance(spec, str) and spec.endswith((".yaml", ".yml"))
        ):
            return cls.load(spec)
        if isinstance(spec, Mapping) and "name" not in spec:
            return cls._from_mapping(spec)
        if isinstance(spec, str) and spec in PLANS:
            return cls._from_mapping(PLANS[spec])
        if isinstance(spec, str) and spec != KEEP and "." not in spec:
            known = list_initializers()
            if spec not in known:
                raise unknown_name("initializer or plan", spec, (*known, *PLANS, KEEP))
        choice = read_choice(spec)
        if choice is None:
            raise ConfigError(
                "a plan must be a name, a mapping or a path to a YAML file, but got None: try he_normal"
            )
        if choice == KEEP or getattr(choice, "name", None) == TORCH_DEFAULT:
            return cls((Rule(Where(), choice, choice),))
        bias = read_choice("zeros") if prescribed_bias(choice) is None else None
        return cls((Rule(Where(), choice, bias),))

    @classmethod
    def _from_mapping(cls, spec: Mapping[str, Any]) -> "InitPlan":
        for key in spec:
            if key not in ("rules", "default"):
                raise unknown_name("key in a plan", key, ("rules", "default"))
        rules = spec.get("rules") or ()
        if isinstance(rules, str) or not isinstance(rules, Sequence):
            raise ConfigError(f"rules must be a list of rules, but got {rules!r}")
        default = spec.get("default") or {}
        if not isinstance(default, Mapping):
            raise ConfigError(
                f"default must be a mapping with weight and bias, but got {default!r}"
            )
        for key in default:
            if key not in ("weight", "bias"):
                raise unknown_name("key in default", key, ("weight", "bias"))
        if not rules and not default:
            raise ConfigError("a plan must have rules or a default, but got neither: add a rule")
        weight = read_choice(default.get("weight")) or KEEP
        bias = read_choice(default.get("bias")) or prescribed_bias(weight) or KEEP
        return cls(tuple(Rule.from_spec(rule) for rule in rules), weight, bias)

    @property
    def needs(self) -> frozenset[str]:
        """All that its initializers need besides tensors: with `batch` in it, `apply` needs one."""
        pairs = [(self.weight, self.bias), *((rule.weight, rule.bias) for rule in self.rules)]
        needs = (each.needs for pair in pairs for each in pair if isinstance(each, Initializer))
        return frozenset[str]().union(*needs)

    def spec(self) -> dict[str, Any]:
        """The plan as YAML and JSON have it; `from_spec` reads it back as an equal plan."""
        return {
            "rules": [rule.spec() for rule in self.rules],
            "default": {"weight": choice_spec(self.weight), "bias": choice_spec(self.bias)},
        }

    def save(self, path: str | os.PathLike[str], comment: str = "") -> None:
        """Write the plan to a YAML file, whole or not at all, with a comment at its top."""
        lines = [f"# {line}\n" for line in comment.splitlines()]
        write_whole(path, "".join(lines) + yaml.safe_dump(self.spec(), sort_keys=False))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "InitPlan":
        """Read a plan file.

        Raises:
            ConfigError: No such file, no YAML, or no plan; the message names the file.
        """
        try:
            spec = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"plan file {os.fspath(path)!r} cannot be read: {error.strerror}"
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"plan file {os.fspath(path)!r} is not YAML: {reason}") from error
        if isinstance(spec, str) and spec.endswith((".yaml", ".yml")):
            raise ConfigError(
                f"plan file {os.fspath(path)!r} must hold a plan, but holds the path {spec!r}"
            )
        try:
            return cls.from_spec(spec)
        except ConfigError as error:
            raise ConfigError(f"plan file {os.fspath(path)!r}: {error}") from error

    def resolve(self, slot: Slot) -> tuple[Initializer | str, int | None]:
        """What fills a parameter, and the number of the rule that says so (`None`: the default).

        Raises:
            ConfigError: The parameter is tied, and rules that hold for its names disagree.
        """
        choice, number = self._choice(slot)
        for alias in slot.aliases:
            other, rule = self._choice(alias)
            if number is None:
                choice, number = other, rule
            elif rule is not None and other != choice:
                raise ConfigError(
                    f"{slot.name} and {alias.name} are one tied parameter, but rules {number + 1} and "
                    f"{rule + 1} fill it with {choice_spec(choice)!r} and {choice_spec(other)!r}: "
                    "name it in one rule"
                )
        return choice, number

    def _choice(self, slot: Slot) -> tuple[Initializer | str, int | None]:
        for number, rule in enumerate(self.rules):
            if rule.where.holds(slot) and (choice := rule.choice(slot)) is not None:
                return choice, number
        if slot.category not in ("weight", "bias"):
            return KEEP, None
        return (self.bias if slot.category == "bias" else self.weight), None

    def apply(
        self, model: nn.Module, seed: int = 0, batch: Any = None, *, include_frozen: bool = False
    ) -> InitReport:
        """Fill the parameters of a model in place.

        Each parameter is drawn by a generator of its own, made from the seed and its qualified name: the
        result depends neither on the order, the device count, the other parameters nor the global random
        state, which is left as it was.

        Args:
            model: Any module; its parameters must exist (no lazy or meta tensors).
            seed: Any integer.
            batch: An input of the model, by which the activation that follows each layer is found, and
                on which layers are measured where the plan needs it (`lsuv`). `None`: the model's
                `example_input_array`, or an input guessed from its first layer.
            include_frozen: Whether parameters with `requires_grad=False` are filled as well.

        Returns:
            A report with a row per parameter.

        Raises:
            ConfigError: An initializer refuses a parameter that a rule names by a condition, or all
                that it was to fill. (What it refuses elsewhere is kept, and the report says why.)
            ModelError: The plan touches no parameter of the model, the model cannot be described, or
                the plan needs a batch and there is none.

        Warns:
            NoEffectWarning: A rule decided about no parameter.
        """
        slots = describe(model, batch)
        assignments = [self._assignment(slot, include_frozen) for slot in slots]
        if all(each.rule is None and each.choice == KEEP for each in assignments):
            raise ModelError(
                f"the plan matches none of the {len(slots)} parameters of {type(model).__name__}: "
                "widen a rule's where, or give a default"
            )
        carry_out(model, assignments, seed, batch)
        used = {each.rule for each in assignments}
        for number, rule in enumerate(self.rules):
            if number not in used:
                warnings.warn(_no_effect(number, rule), NoEffectWarning, stacklevel=2)
        rows = (
            ParameterRow.of(model, each.slot, each.choice, each.rule, "; ".join(each.notes))
            for each in assignments
        )
        return InitReport(tuple(rows), seed)

    def _assignment(self, slot: Slot, include_frozen: bool) -> Assignment:
        choice, number = self.resolve(slot)
        notes = [slot.note] if slot.note else []
        if not slot.requires_grad and not include_frozen and choice != KEEP:
            notes.append("frozen: left alone")
            choice = KEEP
        initializer = None if isinstance(choice, str) else choice
        if initializer is not None and initializer.name == TORCH_DEFAULT:
            initializer = slot.torch_default or initializer
        named = number is not None and self.rules[number].where != Where()
        return Assignment(slot, choice, initializer, number, named, notes)


def _no_effect(number: int, rule: Rule) -> str:
    return (
        f"rule {number + 1} of the plan ({rule.where.spec() or 'any parameter'}) decides about no parameter: "
        "nothing is like that in this model, or the rules above it take all of it"
    )
