"""From Hydra's configuration to a study's settings."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from initsearch.chosen_groups import as_chosen
from initsearch.command import conf_dir
from initsearch.errors import ConfigError, unknown_name
from initsearch.search.settings import RaceSettings, SearchRules, StudySettings
from initsearch.space import Space
from initsearch.tasks import DataSettings, ImageClassification, ModelSettings, OptimizerSettings
from initsearch.training import TrainerSettings

#: Config groups.
GROUPS = ("data", "model", "optimizer", "trainer")
#: What a configuration has at its top.
KEYS = (
    *("name", "seed", "metric", "target_accuracy", "evaluations_per_epoch", "space", "baselines"),
    *("n_trials", "max_epochs", "workers", "search", "race", "output_dir", *GROUPS),
)
Rules = TypeVar("Rules", SearchRules, RaceSettings)


def shipped_sweeps() -> list[str]:
    """The names that `+sweep=` takes."""
    return sorted(path.stem for path in (conf_dir() / "sweep").glob("*.yaml"))


def read_settings(config: DictConfig, overrides: Sequence[str] = ()) -> StudySettings:
    """Check a composed configuration and turn it into a study's settings.

    Args:
        config: As Hydra composed it.
        overrides: The command line's, which say what was chosen there; see `as_chosen`.

    Raises:
        ConfigError: A key, name or value that breaks a rule; the message says which and how to mend it.
    """
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    for key in plain:
        if key not in KEYS:
            raise unknown_name("key of the configuration", key, KEYS)
    for group in (*GROUPS, "search", "race"):
        if not isinstance(plain.get(group), Mapping):
            raise ConfigError(
                f"{group} must be a mapping of settings, but got {plain.get(group)!r}: "
                f"choose {group}=NAME or set {group}.KEY=VALUE"
            )
    missing = [key for key in KEYS if key not in plain]
    if missing or not isinstance(plain["output_dir"], str):
        raise ConfigError(
            f"{(missing or ['output_dir'])[0]} must be set, but is not: leave it as conf/config.yaml has it"
        )
    plain = as_chosen(plain, overrides)
    if not plain.get("space"):
        raise ConfigError(
            f"the space is empty: choose a sweep, +sweep=NAME with NAME one of {', '.join(shipped_sweeps())}"
        )
    task = ImageClassification(
        data=DataSettings.parse("data", plain["data"]),
        model=ModelSettings.parse("model", plain["model"]),
        optimizer=OptimizerSettings.parse("optimizer", plain["optimizer"]),
    )
    trainer = TrainerSettings.parse("trainer", plain["trainer"])
    return StudySettings(
        name=str(plain["name"]),
        architecture=task.model.label,
        task=task,
        trainer=trainer,
        space=Space.from_spec(plain["space"]),
        baselines=_baselines(plain.get("baselines")),
        output_dir=Path(plain["output_dir"]),
        n_trials=plain["n_trials"],
        max_epochs=plain["max_epochs"],
        seed=plain["seed"],
        workers=_workers(trainer) if plain["workers"] is None else plain["workers"],
        metric=plain["metric"],
        target_accuracy=plain["target_accuracy"],
        evaluations_per_epoch=plain["evaluations_per_epoch"],
        search=_rules(SearchRules, "search", plain["search"]),
        race=_rules(RaceSettings, "race", plain["race"]),
        composed=plain,
    )


def writable(folder: Path) -> Path:
    """The folder, made if it is missing.

    Raises:
        ConfigError: It cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise ConfigError(
            f"output_dir must be a folder that can be written to, but {str(folder)!r} is not "
            f"({error.strerror}): give another one, output_dir=PATH"
        ) from error


def _rules(kind: type[Rules], group: str, given: Mapping[str, Any]) -> Rules:
    known = [field.name for field in fields(kind)]
    for key in given:
        if key not in known:
            raise unknown_name(f"key in {group}", key, known)
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    return kind(**values)


def _baselines(spec: Any) -> Mapping[str, Any]:
    if isinstance(spec, str):
        spec = [spec]
    if isinstance(spec, Mapping):
        return spec
    if not isinstance(spec, list | tuple | None):
        raise ConfigError(
            f"baselines must be a list of plans or a mapping of names to plans, but got {spec!r}: "
            "try [torch_default]"
        )
    plans: dict[str, Any] = {}
    for entry in spec or ():
        plans |= entry if isinstance(entry, Mapping) else {str(entry): entry}
    return plans


def _workers(trainer: TrainerSettings) -> int:
    """One per core or, where candidates train on GPUs, per GPU; one where a training takes all devices."""
    return 1 if trainer.distributed else len(trainer.gpus) or _cores()


def _cores() -> int:
    """Cores that this process may use; a container or a scheduler may grant fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
