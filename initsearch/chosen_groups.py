"""Settings of a group that is chosen on the command line, without those that a sweep meant for another choice.

A sweep's file sets `model: {depth: 30}` for the model that it names. Hydra applies it to any model that
`model=` names on the command line, also where it does not fit. So a group that is chosen there keeps the
settings of its own file, those set on the command line, and of the sweep's only those that hold for any choice.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from initsearch.checks import check_mapping
from initsearch.shipped_configs import conf_dir
from initsearch.yaml_file import read_yaml

#: Settings of a sweep that hold for any model or optimizer: the sweep's space matches layers by activation.
SHARED = {"model": ("activation",), "optimizer": ("batch_size",)}
#: The settings of a sweep's `data` are those of its task: they hold for other data of the same one.
DATA = "data"


def as_chosen(plain: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The composed configuration, with the settings of what was chosen in `data`, `model` and `optimizer`.

    Args:
        plain: The composed configuration.
        overrides: The command line's, as Hydra lists them (`model=resnet`, `++model.depth=20`).
    """
    settings = dict(plain)
    of_a_task = any(override.startswith("task=") for override in overrides)
    for group in (DATA, *SHARED):
        composed = plain.get(group)
        if not isinstance(composed, Mapping):
            continue
        given = [override.lstrip("+~").partition("=")[0] for override in overrides]
        own = {name.split(".")[1] for name in given if name.startswith(f"{group}.")}
        chosen = [o.partition("=")[2] for o in overrides if o.startswith(f"{group}=")]
        if "_target_" in own:
            # The user's own class takes the settings of the command line alone.
            settings[group] = {key: value for key, value in composed.items() if key in own}
        elif chosen and (file := conf_dir() / group / f"{chosen[-1]}.yaml").exists():
            base = check_mapping(
                str(file), read_yaml("configuration file", file), "activation: relu"
            )
            shared = SHARED.get(group, () if of_a_task else tuple(composed))
            kept = {*own, *(key for key in shared if key in base)}
            settings[group] = dict(base) | {key: composed[key] for key in kept if key in composed}
    return settings
