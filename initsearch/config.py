"""From Hydra's configuration to a study's settings."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from initsearch.command import conf_dir
from initsearch.errors import ConfigError, unknown_name
from initsearch.search.settings import RaceSettings, SearchRules, StudySettings
from initsearch.space import Space
from initsearch.training.models import architecture_label
from initsearch.training.trainer_settings import TrainerSettings

Rules = TypeVar("Rules", SearchRules, RaceSettings)


def shipped_sweeps() -> list[str]:
    """The names that `+sweep=` takes."""
    return sorted(path.stem for path in (conf_dir() / "sweep").glob("*.yaml"))


def read_settings(config: DictConfig) -> StudySettings:
    """Check a composed configuration and turn it into a study's settings.

    Raises:
        ConfigError: A key, name or value that breaks a rule; the message says which and how to mend it.
    """
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    if not plain.get("space"):
        raise ConfigError(
            f"the space is empty: choose a sweep, +sweep=NAME with NAME one of {', '.join(shipped_sweeps())}"
        )
    model = plain["model"]
    return StudySettings(
        name=str(plain["name"]),
        architecture=architecture_label(model),
        data=plain["data"],
        model=model,
        optimizer=plain["optimizer"],
        trainer=plain["trainer"],
        space=Space.from_spec(plain["space"]),
        baselines=_baselines(plain.get("baselines")),
        output_dir=Path(plain["output_dir"]),
        n_trials=plain["n_trials"],
        max_epochs=plain["max_epochs"],
        seed=plain["seed"],
        workers=_workers(plain["trainer"]) if plain["workers"] is None else plain["workers"],
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
    plans: dict[str, Any] = {}
    for entry in spec or ():
        plans |= entry if isinstance(entry, Mapping) else {str(entry): entry}
    return plans


def _workers(trainer: Mapping[str, Any]) -> int:
    """One per core or, where candidates train on GPUs, per GPU; one where a training takes all devices."""
    settings = TrainerSettings.from_mapping(trainer)
    return 1 if settings.distributed else len(settings.gpus) or _cores()


def _cores() -> int:
    """Cores that this process may use; a container or a scheduler may grant fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
