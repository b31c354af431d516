"""What `initsearch-diagnose` reports of a model: its signal on a batch, or what its weights were drawn from."""

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from torch import Tensor, nn

from initsearch.audit import IdentifyReport, identify
from initsearch.dotted import allowed_names
from initsearch.errors import ConfigError
from initsearch.files import write_whole
from initsearch.layers.loss import Loss
from initsearch.plan import InitPlan
from initsearch.random_state import isolated_random_state
from initsearch.settings import Settings
from initsearch.signal import SignalReport, diagnose
from initsearch.tasks import ImageClassification, derive_seed
from initsearch.tasks.base import BatchFormat
from initsearch.tasks.data import load_data
from initsearch.tasks.image_classification import ImageBlock
from initsearch.tasks.registry import build_task
from initsearch.tasks.supervised import SupervisedBlock, SupervisedTask

FORMATS = (".pdf", ".png", ".svg")


class DiagnosisSettings(Settings):
    """What to look at.

    Attributes:
        task: The model with its data and its loss: the groups `task`, `data` and `model` of the configuration.
        allow_code: The Python code that a plan file may name by a dotted path.
        plan: What the model is initialized by; None: as its framework draws it.
        seed: Of the weights and of the batch.
        batch_size: Examples in the batch; all, if there are fewer.
        output: Where the picture goes; None: no picture.
        identify: Whether to name what the weights were drawn from, in place of the signal.
    """

    task: ImageClassification | SupervisedTask
    allow_code: Annotated[tuple[str, ...], BeforeValidator(allowed_names)] = ()
    plan: Any = None
    seed: int = 0
    batch_size: Annotated[int, Field(ge=2)] = 64
    output: str | None = None
    identify: bool = False

    @model_validator(mode="before")
    @classmethod
    def _build_task(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        groups = {name: values.get(name) for name in ("task", "data", "model")}
        rest = {name: value for name, value in values.items() if name not in groups}
        return {"task": build_task({**groups, "optimizer": {}}), **rest}

    @field_validator("plan")
    @classmethod
    def _check_plan(cls, plan: Any, info: ValidationInfo) -> Any:
        if plan is not None:
            try:
                InitPlan.from_spec(plan, info.data.get("allow_code", ()))
            except ConfigError as error:
                raise ConfigError(f"plan: {error}") from error
        return plan

    @field_validator("output")
    @classmethod
    def _check_output(cls, output: str | None) -> str | None:
        if output is not None and Path(output).suffix.lower() not in FORMATS:
            raise ValueError(f"must end in {', '.join(FORMATS)}")
        return output


def report(settings: DiagnosisSettings) -> str:
    """What settings ask for, as text: the signal, drawn to `output` as well, or what weights were drawn from.

    Raises:
        ConfigError: A setting breaks a rule, or the figure cannot be written.
        DataError: The data set is missing or damaged.
        ModelError: The model cannot be built or run.
    """
    if settings.identify:
        if settings.output is not None:
            raise ConfigError(
                f"output is a picture of the signal, but got {settings.output!r} with identify=true: "
                "leave one of the two out"
            )
        title, names = name_draws(settings)
        return f"{title}\n\n{names}"
    title, signal = look(settings)
    text = f"{title}\n\n{signal}"
    if settings.output is not None:
        text += f"\n\npicture: {_draw(signal, Path(settings.output))}"
    return text


def look(settings: DiagnosisSettings) -> tuple[str, SignalReport]:
    """A line that says what was looked at, and the report.

    Model and batch are a function of the seed alone; the global random state is left as it was.

    Raises:
        ConfigError: A setting breaks a rule.
        DataError: The data set is missing or damaged.
        ModelError: The model cannot be built or run.
    """
    task, model, _, (x, y) = _subject(settings)
    name = task.model.label
    report = diagnose(
        model,
        (x, y),
        plan=settings.plan,
        seed=settings.seed,
        loss=_own_loss(task),
        allow_code=settings.allow_code,
    )
    report = replace(report, model=name)
    initialized = f"initialized by {report.plan}" if report.plan else "as the framework draws it"
    things = "images" if isinstance(task, ImageClassification) else "examples"
    title = (
        f"{name} on {_named(task)}, {len(x)} {things}, seed {settings.seed}, {initialized}; "
        f"{report.loss} {report.loss_value:.4g}"
    )
    return title, report


def name_draws(settings: DiagnosisSettings) -> tuple[str, IdentifyReport]:
    """A line that says what was looked at, and what its weights were drawn from.

    Model and batch are those of `look`.

    Raises:
        ConfigError: A setting breaks a rule.
        DataError: The data set is missing or damaged.
        ModelError: The model cannot be built or run.
    """
    task, model, block, (x, y) = _subject(settings)
    initialized = "as the framework draws it"
    if settings.plan is not None:
        plan = InitPlan.from_spec(settings.plan, settings.allow_code)
        targets = block.targets()
        plan.apply(model, seed=settings.seed, batch=x, targets=targets, loss_batch=(x, y))
        initialized = "initialized by the plan"
    title = f"{task.model.label} on {_named(task)}, seed {settings.seed}, {initialized}"
    return title, identify(model, x)


def _subject(
    settings: DiagnosisSettings,
) -> tuple[
    ImageClassification | SupervisedTask,
    nn.Module,
    ImageBlock | SupervisedBlock,
    tuple[Tensor, Tensor],
]:
    """The task, its model as the framework draws it, and the seed's examples with a batch of them."""
    task = settings.task
    block = task.open(settings.seed, torch.device("cpu"))
    generator = torch.Generator().manual_seed(derive_seed("diagnosis", settings.seed))
    order = torch.randperm(len(block.train), generator=generator)
    batch = block.ready(block.train[order[: settings.batch_size]], BatchFormat())
    with isolated_random_state(seed=derive_seed("model", settings.seed)):
        model = task.build_model()
    return task, model, block, batch


def _own_loss(task: ImageClassification | SupervisedTask) -> Loss | None:
    """The loss of the task, if it is set by its name; None: the one that suits the targets."""
    if task.loss_name == "auto":
        return None

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return task.objective.loss_of(output, target)

    loss.__name__ = task.loss_name
    return loss


def _named(task: ImageClassification | SupervisedTask) -> str:
    """The data set's name; one that stands in for another says so."""
    if isinstance(task, SupervisedTask):
        return task.examples.name
    data = load_data(task.data)
    stands_in = f" (in place of {data.requested}: {data.reason})" if data.is_fallback else ""
    return data.name + stands_in


def _draw(report: SignalReport, path: Path) -> Path:
    # In memory first: a picture that cannot be drawn leaves no incomplete file.
    buffer = io.BytesIO()
    report.plot().savefig(buffer, format=path.suffix[1:].lower())
    try:
        write_whole(path, buffer.getvalue())
    except OSError as error:
        raise ConfigError(
            f"output must be a file that can be written, but {str(path)!r} is not "
            f"({error.strerror}): give another one, output=PATH"
        ) from error
    return path
