"""`InitPlan`: rules that are resolved on a model to one assignment per parameter, and carried out."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import yaml
from torch import nn

from initsearch.checks import check_keys, check_mapping, is_list
from initsearch.dotted import only_allowed
from initsearch.errors import (
    ConfigError,
    ModelError,
    NoEffectWarning,
    quoted,
    unknown_name,
    visible,
)
from initsearch.files import write_whole
from initsearch.initializers import Initializer, list_initializers
from initsearch.layers import Slot, TrainingLoss, describe, find_twins
from initsearch.layers.description import describe_with_trace
from initsearch.plan import resolution
from initsearch.plan.code import code_for
from initsearch.plan.fill import Scaling, Targets, canonical_form, carry_out
from initsearch.plan.materialize import (
    allocate_buffers,
    allocate_parameters,
    names_without_values,
    set_kept,
    set_refused,
)
from initsearch.plan.presets import ALIASES, PLANS
from initsearch.plan.report import InitReport, ParameterRow
from initsearch.plan.rules import (
    KEEP,
    TORCH_DEFAULT,
    Rule,
    Spec,
    Where,
    choice_spec,
    code_of,
    prescribed_bias,
    read_choice,
)
from initsearch.yaml_file import read_yaml


@dataclass(frozen=True)
class InitPlan:
    """Ordered rules: for each parameter the first matching rule that sets its part (weight or bias) applies.

    Attributes:
        rules: The rules, the most specific first.
        weight: The default for weights: an initializer, or `"keep"` (as the framework made it).
        bias: The default for biases. If it is not given, what `weight` prescribes for them, or else `"keep"`.
        recipe: The name of the named plan that it was made from, for warnings; empty if it has none.

    Example:
        >>> plan = InitPlan.from_spec("he_normal")
        >>> report = plan.apply(model, seed=0)
    """

    rules: tuple[Rule, ...] = ()
    weight: Initializer | str = KEEP
    bias: Initializer | str = field(default=KEEP)
    recipe: str = field(default="", compare=False)

    @classmethod
    def from_spec(
        cls, spec: "Spec | InitPlan | os.PathLike[str]", allow_code: Sequence[str] = ()
    ) -> "InitPlan":
        """Make a plan from a name, a mapping or a path.

        Args:
            spec: One of:

                - the name of an initializer, or a mapping with its `name` and fields: it fills all weights,
                  biases are zero or as it prescribes, norms are kept. `torch_default`: weights and biases as
                  torch draws them. `keep`: everything stays as it is;
                - the name of a plan (`fixup`, `gpt2`, ...; see `list_plans`);
                - a mapping with `rules` and `default`;
                - the path to a YAML file with any of these;
                - a plan, which is returned unchanged.
            allow_code: For a file: see `load`.

        Raises:
            ConfigError: An unknown name or key, a value out of range, or a file that holds no plan.
        """
        if isinstance(spec, InitPlan):
            return spec
        if isinstance(spec, os.PathLike) or (
            isinstance(spec, str) and spec.endswith((".yaml", ".yml"))
        ):
            return cls.load(spec, allow_code)
        if isinstance(spec, Mapping) and "name" not in spec:
            return cls._from_mapping(spec)
        if isinstance(spec, str) and spec in (*PLANS, *ALIASES):
            return replace(cls._from_mapping(PLANS[ALIASES.get(spec, spec)]), recipe=spec)
        if isinstance(spec, str) and spec != KEEP and "." not in spec:
            known = list_initializers()
            if spec not in known:
                raise unknown_name("initializer or plan", spec, (*known, *PLANS, *ALIASES, KEEP))
        choice = read_choice(spec)
        if choice is None:
            raise ConfigError(
                "a plan must be a name, a mapping or a path to a YAML file, but got None: write for instance "
                "he_normal"
            )
        if choice == KEEP or getattr(choice, "name", None) == TORCH_DEFAULT:
            return cls((Rule(Where(), choice, choice),))
        bias = read_choice("zeros") if prescribed_bias(choice) is None else None
        return cls((Rule(Where(), choice, bias),))

    @classmethod
    def _from_mapping(cls, spec: Mapping[str, Any]) -> "InitPlan":
        check_keys("key in a plan", spec, ("rules", "default"))
        rules, default = spec.get("rules"), spec.get("default")
        rules = () if rules is None else rules
        if not is_list(rules):
            raise ConfigError(
                f"rules must be a list of rules, but got {quoted(rules)}: write - before each rule"
            )
        default = {} if default is None else default
        check_mapping("default", default, "{weight: he_normal, bias: zeros}")
        check_keys("key in default", default, ("weight", "bias"))
        if not rules and not default:
            raise ConfigError("a plan must have rules or a default, but got neither: add a rule")
        weight = read_choice(default.get("weight")) or KEEP
        bias = read_choice(default.get("bias")) or prescribed_bias(weight) or KEEP
        return cls(tuple(Rule.from_spec(rule) for rule in rules), weight, bias)

    @property
    def needs(self) -> frozenset[str]:
        """What its initializers need besides tensors; if `batch` is in it, `apply` needs a batch."""
        needs = (each.needs for each in self._choices() if isinstance(each, Initializer))
        return frozenset[str]().union(*needs)

    @property
    def code(self) -> tuple[str, ...]:
        """The dotted paths of Python code that it names: `load` must allow them."""
        return tuple(sorted(set[str]().union(*map(code_of, self._choices()))))

    def _choices(self) -> Iterator[Initializer | str | None]:
        """What it chooses for weights and biases, rule by rule and by default."""
        for rule in self.rules:
            yield from (rule.weight, rule.bias)
        yield from (self.weight, self.bias)

    def spec(self) -> dict[str, Any]:
        """The plan as plain data for YAML or JSON; `from_spec` reads it back as an equal plan."""
        return {
            "rules": [rule.spec() for rule in self.rules],
            "default": {"weight": choice_spec(self.weight), "bias": choice_spec(self.bias)},
        }

    def save(self, path: str | os.PathLike[str], comment: str = "") -> None:
        """Write the plan to a YAML file, whole or not at all, with a comment at its top.

        If the plan names Python code by a dotted path, the comment says how to load it.
        """
        if self.code:
            comment += f"\nIt names Python code: load it with allow_code={list(self.code)}."
        # YAML refuses a file with control characters, even in a comment.
        lines = [f"# {visible(line)}\n" for line in comment.strip().splitlines()]
        write_whole(path, "".join(lines) + yaml.safe_dump(self.spec(), sort_keys=False))

    @classmethod
    def load(cls, path: str | os.PathLike[str], allow_code: Sequence[str] = ()) -> "InitPlan":
        """Read a plan file.

        Args:
            path: The YAML file.
            allow_code: The Python code that the file may name by a dotted path (as an initializer or an
                activation). A file may come from a stranger: code that is not allowed here is neither
                imported nor called. Each name allows the path of that name, and whatever is defined in the
                module or package of that name (`("mypackage.init",)`).

        Raises:
            ConfigError: No such file, no YAML, no plan, or code that is not allowed; the message names the
                file.
        """
        spec: Any = read_yaml("plan file", path)
        name = f"plan file {quoted(os.fspath(path))}"
        if isinstance(spec, str) and spec.endswith((".yaml", ".yml")):
            raise ConfigError(
                f"{name} must hold a plan, but holds the path {quoted(spec)}: load that file"
            )
        try:
            with only_allowed(allow_code):
                return cls.from_spec(spec)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from error

    def resolve(self, slot: Slot) -> tuple[Initializer | str, int | None]:
        """What fills a parameter, and the index of the rule that applies (`None`: the default).

        The weight of a head that is tied to an embedding is filled as the embedding, if a rule gives `kind:
        embedding` and none names the head.

        Raises:
            ConfigError: The parameter is tied, and its names match rules that disagree.
        """
        return resolution.resolved(self, slot)

    def apply(
        self,
        model: nn.Module,
        seed: int = 0,
        batch: Any = None,
        *,
        include_frozen: bool = False,
        training_batch: Callable[[], Any] | None = None,
        keep: Mapping[str, str] | None = None,
        targets: Targets = None,
        loss: TrainingLoss | None = None,
        loss_batch: Any = None,
    ) -> InitReport:
        """Fill the parameters of a model in place.

        Each parameter, and each named part of a packed one, has its own generator, seeded by the seed and its
        qualified name: the result does not depend on the order, the number of devices, other parameters or the
        global random state, which stays as it is.

        Args:
            model: Any module whose parameters exist (no lazy or meta tensors; see `materialize`). They may be
                sharded (`fully_shard`): all processes call this, and each fills its own shards with the values
                that one CPU gets.
            seed: Any integer.
            batch: An input of the model. It shows which activation follows each layer, and is what layers are
                measured on if the plan needs that (`lsuv`). Default: the model's `example_input_array`, or an
                input guessed from its first layer.
            include_frozen: Whether parameters with `requires_grad=False` are filled too.
            training_batch: Gives a batch for a LightningModule's training step. Called if no `batch` is given
                and `forward` does not run all layers.
            keep: Parameters to leave alone whatever the rules say, each with the reason for the report, by the
                names of `named_parameters`.
            targets: The targets of the training data, or a function that gives them, for what needs them
                (`class_prior`): a tensor, array or list of classes, of rows of labels, or of numbers.
            loss: The training loss, `loss(model, batch)`, for what learns from it (`gradinit`, `metainit`).
                Default: that of a LightningModule's training step; or, for a pair of inputs and labels, the
                    cross-entropy (the mean squared error of floating labels), and without labels that of random
                    ones.
            loss_batch: The batch that the loss takes. Default: `batch`.

        Returns:
            A report with a row per parameter.

        Raises:
            ConfigError: An initializer refuses a parameter that a rule names by a condition, or all
                parameters that it should fill. (Any other parameter that it refuses is kept, and the report
                says why.)
            ModelError: The plan has rules, but fills no parameter; the model cannot be described, or the plan
                needs a batch and there is none.

        Warns:
            NoEffectWarning: A rule applies to no parameter.
        """
        slots = describe(model, batch, training_batch)
        data = Scaling(batch, loss, loss_batch)
        return self._applied(model, slots, seed, data, include_frozen, keep=keep, targets=targets)

    def materialize(
        self,
        model: nn.Module,
        device: torch.device | str,
        seed: int = 0,
        batch: Any = None,
        *,
        include_frozen: bool = False,
    ) -> InitReport:
        """Give a model that was built on the meta device memory, and fill it.

        The plan draws the same values, bit for bit, as `apply` draws for the same model on a CPU. What it keeps
        is drawn as the framework draws it, or by the module's own `reset_parameters` (or `_init_weights`, of
        transformers), from the same seed. Beyond the model, memory holds one parameter at a time. Sharded
        models (`fully_shard`, `parallelize_module`) may be on the meta device too: each process fills its own
        shards.

        Args:
            model: A module whose parameters are on the meta device, all or some of them.
            device: Where they get memory.
            seed: See `apply`.
            batch: See `apply`.
            include_frozen: See `apply`.

        Returns:
            A report as that of `apply`.

        Raises:
            ConfigError: See `apply`.
            ModelError: See `apply`; or nothing sets a buffer, or a parameter that the plan keeps.

        Example:
            >>> with torch.device("meta"):
            ...     model = MyTransformer()
            >>> InitPlan.from_spec("he_normal").materialize(model, "cuda", seed=0)
        """
        place = torch.device(device)
        allocate_buffers(model, place, seed)
        slots, _ = describe_with_trace(model, batch, without_data=True)
        absent = names_without_values(slots, model)
        allocate_parameters(model, place)
        return self._applied(model, slots, seed, Scaling(batch), include_frozen, absent)

    def _applied(
        self,
        model: nn.Module,
        slots: Sequence[Slot],
        seed: int,
        data: Scaling,
        include_frozen: bool,
        absent: Sequence[str] = (),
        keep: Mapping[str, str] | None = None,
        targets: Targets = None,
    ) -> InitReport:
        """Fill a model that was described; those parameters too that have no values yet."""
        assignments = resolution.assignments(self, slots, include_frozen)
        resolution.keep(assignments, keep or {})
        kept = all(each.rule is None and each.choice == KEEP for each in assignments)
        if kept and self.rules:  # a plan without rules keeps everything on purpose
            raise ModelError(
                f"the plan matches none of the {len(slots)} parameters of {type(model).__name__}: "
                "widen a rule's where, or give a default"
            )
        twins = find_twins(model, slots)
        set_kept(model, assignments, absent, seed)
        carry_out(model, assignments, seed, data, targets)
        set_refused(model, assignments, absent, seed)
        resolution.follow(twins, assignments)
        for line in resolution.without_effect(self, assignments):
            warnings.warn(line, NoEffectWarning, stacklevel=3)
        rows = (
            ParameterRow.of(model, each.slot, each.choice, each.rule, "; ".join(each.notes))
            for each in assignments
        )
        return InitReport(tuple(rows), seed)

    def canonical(self, slots: Sequence[Slot]) -> tuple[str, ...]:
        """What the plan fills each parameter with, in canonical form.

        Plans with equal forms fill the model with the same weights, whatever the names, dialects and rules by
        which they are written: `he_normal`, `msra` and variance scaling with a factor of 2. On a model whose
        layers are square, the modes of variance scaling are among these.

        Args:
            slots: The parameters of the model (`initsearch.layers.describe`).

        Raises:
            ConfigError: A parameter is tied, and its names match rules that disagree.
        """
        return tuple(canonical_form(resolution.assignments(self, [slot])) for slot in slots)

    def to_code(self, model: nn.Module, batch: Any = None) -> str:
        """Plain PyTorch code that draws what the plan draws for a model, and needs no initsearch.

        It has one function, `init_weights(model)`, which draws from torch's global random generator: the same
        distributions as `apply`, but other values. Where Keras or JAX has the same initializer, a comment has
        its line. Names are those of the model without wrappers (`torch.compile`, `DataParallel`).

        Args:
            model: The model, as for `apply`; it is left as it was.
            batch: An input of the model; see `apply`.

        Raises:
            ConfigError: An initializer needs a batch or a loss or is a function, or it refuses a parameter.
            ModelError: The model cannot be described.

        Example:
            >>> print(InitPlan.from_spec("he_normal").to_code(model))
        """
        assignments = resolution.assignments(self, describe(model, batch))
        return code_for(model, resolution.completed(assignments))

    def initializers_of(
        self, slot: Slot, *, include_frozen: bool = False
    ) -> list[tuple[Slot, Initializer]]:
        """What the rules fill a parameter with, completed by its position; empty if they keep it.

        It is what `apply` does, except that a parameter that the model set on purpose is filled as well. If
        rules fill parts of it differently, there is a slot for each part that is filled.

        Raises:
            ConfigError: The parameter is tied, and its names match rules that disagree.
        """
        whole = replace(slot, deliberate="")
        return resolution.completed(resolution.assignments(self, [whole], include_frozen))
