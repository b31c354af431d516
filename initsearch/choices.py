"""What a group chosen on the command line takes with it: its own settings, not those a sweep meant for another.

A sweep's file sets `model: {depth: 30}` for the model that it names. Hydra lays that over whatever `model=`
names on the command line, where it fits nothing. So a group that was chosen there keeps its own file's
settings, what the command line itself sets, and of the sweep's only what any choice has in common.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from initsearch.command import conf_dir

#: What a sweep says that holds whichever model or optimizer it is: its groups go by activation.
SHARED = {"model": ("activation",), "optimizer": ("batch_size",)}


def as_chosen(plain: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The composed configuration with the settings of `model` and `optimizer` that their choice takes.

    Args:
        plain: The composed configuration.
        overrides: The command line's, as Hydra lists them (`model=resnet`, `++model.depth=20`).
    """
    settings = dict(plain)
    for group, shared in SHARED.items():
        composed = plain.get(group)
        if not isinstance(composed, Mapping):
            continue
        given = [override.lstrip("+~").partition("=")[0] for override in overrides]
        own = {name.split(".")[1] for name in given if name.startswith(f"{group}.")}
        chosen = [o.partition("=")[2] for o in overrides if o.startswith(f"{group}=")]
        if "_target_" in own:
            # Somebody's own class: it takes what the command line says, and no more.
            settings[group] = {key: value for key, value in composed.items() if key in own}
        elif chosen and (file := conf_dir() / group / f"{chosen[-1]}.yaml").exists():
            base = yaml.safe_load(file.read_text(encoding="utf-8"))
            kept = {*own, *(key for key in shared if key in base)}
            settings[group] = base | {key: composed[key] for key in kept if key in composed}
    return settings
