"""What `initsearch-diagnose` reports of a model: its signal on a batch, or what its weights were drawn from."""

import io
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from torch import Tensor, nn

from initsearch.audit import IdentifyReport, identify
from initsearch.dotted import allowed_names
from initsearch.errors import ConfigError
from initsearch.files import write_whole
from initsearch.plan import InitPlan
from initsearch.random_state import isolated_random_state
from initsearch.settings import Settings
from initsearch.signal import SignalReport, diagnose
from initsearch.tasks import DataSettings, ModelSettings, derive_seed
from initsearch.tasks.data import ImageData, load_data, split
from initsearch.tasks.models import build_model

FORMATS = (".pdf", ".png", ".svg")


class DiagnosisSettings(Settings):
    """What to look at.

    Attributes:
        data: Which images.
        model: Which architecture.
        allow_code: The Python code that a plan file may name by a dotted path.
        plan: What it is initialized by; None: as its framework draws it.
        seed: Of the weights and of the batch.
        batch_size: Images in the batch; all, if there are fewer.
        output: Where the picture goes; None: no picture.
        identify: Whether to name what the weights were drawn from, in place of the signal.
    """

    data: Annotated[DataSettings, BeforeValidator(partial(DataSettings.parse, "data"))]
    model: Annotated[ModelSettings, BeforeValidator(partial(ModelSettings.parse, "model"))]
    allow_code: Annotated[tuple[str, ...], BeforeValidator(allowed_names)] = ()
    plan: Any = None
    seed: int = 0
    batch_size: Annotated[int, Field(ge=2)] = 64
    output: str | None = None
    identify: bool = False

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
    data, model, (images, labels) = _subject(settings)
    name = settings.model.label
    report = diagnose(
        model,
        (images, labels),
        plan=settings.plan,
        seed=settings.seed,
        allow_code=settings.allow_code,
    )
    report = replace(report, model=name)
    initialized = f"initialized by {report.plan}" if report.plan else "as the framework draws it"
    title = (
        f"{name} on {_named(data)}, {len(images)} images, seed {settings.seed}, {initialized}; "
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
    data, model, (images, labels) = _subject(settings)
    initialized = "as the framework draws it"
    if settings.plan is not None:
        plan = InitPlan.from_spec(settings.plan, settings.allow_code)
        plan.apply(model, seed=settings.seed, batch=images, loss_batch=(images, labels))
        initialized = "initialized by the plan"
    title = f"{settings.model.label} on {_named(data)}, seed {settings.seed}, {initialized}"
    return title, identify(model, images)


def _subject(settings: DiagnosisSettings) -> tuple[ImageData, nn.Module, tuple[Tensor, Tensor]]:
    """The data set, the model as its framework draws it, and a batch with its labels."""
    data = load_data(settings.data)
    batch = _batch(data, settings)
    with isolated_random_state(seed=derive_seed("model", settings.seed)):
        model = build_model(settings.model, data.input_shape, data.num_classes)
    return data, model, batch


def _named(data: ImageData) -> str:
    """The data set's name; one that stands in for another says so."""
    stands_in = f" (in place of {data.requested}: {data.reason})" if data.is_fallback else ""
    return data.name + stands_in


def _batch(data: ImageData, settings: DiagnosisSettings) -> tuple[Tensor, Tensor]:
    """Training images of the seed's split, normalised, and their labels."""
    pool = split(data, settings.seed, settings.data.train_size, settings.data.val_size).train
    generator = torch.Generator().manual_seed(derive_seed("diagnosis", settings.seed))
    index = pool[torch.randperm(len(pool), generator=generator)[: settings.batch_size]]
    return data.normalize(data.train_x[index]), data.train_y[index]


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
