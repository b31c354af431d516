"""`initsearch-diagnose`, `python -m initsearch.diagnosis`: a model's signal on a batch of a data set."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from initsearch.command import run_command
from initsearch.errors import ConfigError, unknown_name
from initsearch.plan import InitPlan
from initsearch.signal import SignalReport, diagnose
from initsearch.tasks.data import DataConfig, ImageData, load_data, split
from initsearch.tasks.models import architecture_label, build_model
from initsearch.training.streams import derive_seed

FORMATS = (".pdf", ".png", ".svg")


@dataclass(frozen=True)
class DiagnosisSettings:
    """What to look at.

    Attributes:
        data: The data set's config.
        model: The model's config.
        plan: What it is initialized by; None: as its framework draws it.
        seed: Of the weights and of the batch.
        batch_size: Images in the batch; as many as there are, if there are fewer.
        output: Where the picture goes; None: nowhere.

    Raises:
        ConfigError: A value that breaks a rule.
    """

    data: Mapping[str, Any]
    model: Mapping[str, Any]
    plan: Any = None
    seed: int = 0
    batch_size: int = 64
    output: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ConfigError(f"seed must be an integer, but got {self.seed!r}")
        size = self.batch_size
        if isinstance(size, bool) or not isinstance(size, int) or size < 2:
            raise ConfigError(f"batch_size must be a whole number of at least 2, but got {size!r}")
        if self.plan is not None:
            InitPlan.from_spec(self.plan)
        if self.output is not None and Path(str(self.output)).suffix.lower() not in FORMATS:
            raise ConfigError(
                f"output must end in {', '.join(FORMATS)}, but got {str(self.output)!r}"
            )


def run(config: DictConfig) -> None:
    """Print the report that a composed configuration asks for, and draw it."""
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    known = [field.name for field in fields(DiagnosisSettings)]
    for key in plain:
        if key not in known:
            raise unknown_name("setting", key, known)
    settings = DiagnosisSettings(**plain)
    title, report = look(settings)
    print(f"{title}\n\n{report}")  # noqa: T201
    if settings.output is not None:
        print(f"\npicture: {_draw(report, Path(settings.output))}")  # noqa: T201


def look(settings: DiagnosisSettings) -> tuple[str, SignalReport]:
    """A line that says what was looked at, and the report.

    The model is built and the batch drawn as a function of the seed alone; the global random state is
    left as it was.

    Raises:
        ConfigError: A setting breaks a rule.
        DataError: The data set cannot be had.
        ModelError: The model cannot be built or run.
    """
    config = DataConfig.from_mapping(settings.data)
    data = load_data(config)
    images, labels = _batch(data, config, settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("model", settings.seed))
        model = build_model(settings.model, data.input_shape, data.num_classes)
    name = architecture_label(settings.model)
    report = diagnose(model, (images, labels), plan=settings.plan, seed=settings.seed)
    report = replace(report, model=name)
    where = data.name
    if data.is_fallback:
        where += f" (in place of {data.requested}: {data.reason})"
    initialized = f"initialized by {report.plan}" if report.plan else "as the framework draws it"
    title = (
        f"{name} on {where}, {len(images)} images, seed {settings.seed}, {initialized}; "
        f"{report.loss} {report.loss_value:.4g}"
    )
    return title, report


def _batch(
    data: ImageData, config: DataConfig, settings: DiagnosisSettings
) -> tuple[Tensor, Tensor]:
    """Training images of the seed's split, normalised, and their labels."""
    pool = split(data, settings.seed, config.train_size, config.val_size).train
    generator = torch.Generator().manual_seed(derive_seed("diagnosis", settings.seed))
    index = pool[torch.randperm(len(pool), generator=generator)[: settings.batch_size]]
    return data.normalize(data.train_x[index]), data.train_y[index]


def _draw(report: SignalReport, path: Path) -> Path:
    # In memory first: a picture that cannot be drawn leaves no half file.
    buffer = io.BytesIO()
    report.plot().savefig(buffer, format=path.suffix[1:].lower())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())
    except OSError as error:
        raise ConfigError(
            f"output must be a file that can be written, but {str(path)!r} is not "
            f"({error.strerror}): give another one, output=PATH"
        ) from error
    return path


def main() -> None:
    """Entry point of `initsearch-diagnose` and `python -m initsearch.diagnosis`."""
    run_command("diagnose", run)


if __name__ == "__main__":
    main()
