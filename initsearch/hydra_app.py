"""The search in a Hydra app of the user: its own model, data and Trainer, from its own configuration.

    python -m initsearch.hydra_app initsearch.search.metric=val/acc

runs in the project's folder, with the configuration `configs/train.yaml` of the lightning-hydra-template (or
`--config-path`, `--config-name`), and needs no change of the project. `search_app` is the same for the
project's own script.
"""

import functools
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from initsearch.command import fail
from initsearch.errors import ConfigError, InitSearchError, shortened
from initsearch.yaml_file import read_yaml

if TYPE_CHECKING:
    from initsearch.finder import InitFindResult

#: Where lightning-hydra-template has its configuration.
CONFIG_PATH, CONFIG_NAME = "configs", "train"
#: The variable from which lightning-hydra-template has its paths.
ROOT_VARIABLE = "PROJECT_ROOT"
#: The group of the search's settings, among the groups of initsearch.
PREFIX = "initsearch/"
GROUP = f"{PREFIX}search"


def search_app(cfg: DictConfig) -> "InitFindResult":
    """Search the initialization of what a Hydra configuration instantiates.

    Settings are in `cfg.initsearch.search` (`+initsearch/search=default`), what may vary is in
    `cfg.initsearch.space` (`+initsearch/space=relu`; default: schemes that suit the module). The module is
    built from its configuration for each seed, and the baseline is the module as built; if an `InitCallback` is
    among the callbacks, the baseline is its plan.

    Args:
        cfg: The composed configuration, with nodes `model`, `data` and `trainer` (each with a `_target_`) and
            `callbacks` (a mapping of such nodes). `cfg.initsearch.search.nodes` may name others.

    Returns:
        The result of `initsearch.init_find`.

    Raises:
        ConfigError: A node is missing, or what `init_find` raises.

    Example:
        >>> @hydra.main(version_base="1.3", config_path="../configs", config_name="train.yaml")
        ... def main(cfg):
        ...     if "initsearch" in cfg:
        ...         return initsearch.search_app(cfg)
    """
    from initsearch.finder import init_find

    own = _plain(cfg, "initsearch", required=False) or {}
    if not own.get("search"):
        raise ConfigError(f"the configuration must have initsearch.search: add +{GROUP}=default")
    settings = {**own["search"]}
    names = {name: name for name in ("model", "data", "trainer", "callbacks")}
    names |= settings.pop("nodes", {})
    metric = settings.pop("metric", None)
    if metric is None:
        raise ConfigError(
            "initsearch.search.metric must be a name that the module logs in validation: "
            "initsearch.search.metric=val/acc"
        )
    model, data, trainer = (_plain(cfg, names[name]) for name in ("model", "data", "trainer"))
    callbacks, plan = _callbacks(_plain(cfg, names["callbacks"], required=False) or {})
    return init_find(
        functools.partial(hydra.utils.instantiate, model),
        datamodule=_made(names["data"], data),
        trainer=_made(
            names["trainer"],
            trainer,
            callbacks=[_made(names["callbacks"], each) for each in callbacks],
        ),
        metric=metric,
        space=own.get("space"),
        baselines=None if plan is None else {"configured": plan},
        **settings,
    )


def main(words: Sequence[str] | None = None) -> None:
    """Run the search of the project in the current folder; raises `SystemExit` if it fails.

    Args:
        words: The words of the command line after the program's name; None: those of this process.
    """
    words = list(sys.argv[1:] if words is None else words)
    folder = _config_folder(_taken(words, "--config-path", "-cp") or CONFIG_PATH)
    name = _taken(words, "--config-name", "-cn") or CONFIG_NAME
    try:
        words = _with_groups(words, folder / name)
    except ConfigError as error:
        fail(str(error))
    sys.argv = [sys.argv[0], *words]
    sys.path.insert(0, str(Path.cwd()))  # the project's own code
    os.environ.setdefault(ROOT_VARIABLE, str(Path.cwd()))
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra would print an exception itself
    errors: list[InitSearchError] = []

    def run(cfg: DictConfig) -> None:
        try:
            print(search_app(cfg))  # noqa: T201
        except InitSearchError as error:
            errors.append(error)

    start = hydra.main(version_base="1.3", config_path=str(folder), config_name=name)
    try:
        start(run)()
    except (hydra.errors.HydraException, OmegaConfBaseException) as error:
        fail(str(error))
    if errors:
        fail(str(errors[0]))


def _taken(words: list[str], *flags: str) -> str:
    """Take an option with its value out of the words; empty if it is not there."""
    for number, word in enumerate(words):
        flag, given, value = word.partition("=")
        if flag in flags:
            del words[number]
            return value if given or number == len(words) else words.pop(number)
    return ""


def _config_folder(path: str) -> Path:
    folder = Path(path).resolve()
    if not folder.is_dir():
        fail(
            f"--config-path must be a folder, but {path!r} is not one: run this in the project's folder, or "
            "give --config-path=FOLDER and --config-name=NAME"
        )
    return folder


def _with_groups(words: list[str], file: Path) -> list[str]:
    """The words, with `+` before groups of initsearch that the configuration's defaults list has not."""
    listed = read_yaml("configuration", file.with_suffix(".yaml")) or {}
    entries = listed.get("defaults", []) if isinstance(listed, Mapping) else []
    known = {key.strip("/") for entry in entries if isinstance(entry, Mapping) for key in entry}
    added = [
        f"+{word}" if word.startswith(PREFIX) and word.partition("=")[0] not in known else word
        for word in words
    ]
    chosen = GROUP in known or any(word.lstrip("+").startswith(f"{GROUP}=") for word in added)
    return added if chosen else [f"+{GROUP}=default", *added]


def _plain(cfg: DictConfig, name: str, *, required: bool = True) -> Any:
    """A node of the configuration as plain data, with its interpolations resolved."""
    node = OmegaConf.select(cfg, name)
    if node is None and required:
        raise ConfigError(
            f"the configuration must have a node {name!r} with a _target_, but has "
            f"{', '.join(map(str, cfg)) or 'none'}: name it, initsearch.search.nodes.{name}=NAME"
        )
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _made(name: str, node: Any, **arguments: Any) -> Any:
    """What a node of the configuration instantiates.

    Raises:
        ConfigError: It cannot be made, such as a Trainer for a GPU where there is none.
    """
    try:
        return hydra.utils.instantiate(node, **arguments)
    except InstantiationException as error:
        why = shortened(" ".join(str(error.__cause__ or error).split()))
        remedy = (
            f"correct it; {name}.accelerator=cpu {name}.devices=1 trains without a GPU"
            if "accelerator" in node
            else "correct it"
        )
        raise ConfigError(
            f"{name} must be a node that can be instantiated, but {node.get('_target_')} raised {why}: {remedy}"
        ) from error


def _callbacks(nodes: Mapping[str, Any]) -> tuple[list[Any], Any]:
    """The nodes of the callbacks that train, and the plan of an `InitCallback`, which is the baseline."""
    found: list[Any] = []
    plan = None
    for node in nodes.values():
        target = node.get("_target_", "") if isinstance(node, Mapping) else ""
        if target.rpartition(".")[2] == "InitCallback":
            plan = node["plan"]
        elif target:
            found.append(node)
    return found, plan


if __name__ == "__main__":
    main()
