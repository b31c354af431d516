"""The configs that are shipped: their folder, the groups, and the sweeps with their questions."""

from pathlib import Path

from initsearch.errors import ConfigError

#: The configurations of the two programs, without their ending.
SEARCH, DIAGNOSE = "config", "diagnose"


def conf_dir() -> Path:
    """The folder of the shipped configs: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def app_conf_dir() -> Path:
    """The folder of the config groups that every Hydra app gets, by the plugin in `hydra_plugins`."""
    return conf_dir() / "hydra_app"


def options_of(group: str) -> list[str]:
    """The names that a config group takes: its files."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def config_groups() -> list[str]:
    """The names of the config groups, `sweep` among them."""
    return sorted(path.name for path in conf_dir().iterdir() if any(path.glob("*.yaml")))


def shipped_sweeps() -> list[str]:
    """The names that `+sweep=` takes."""
    return options_of("sweep")


def question_of(sweep: str) -> str:
    """The question of a shipped sweep: the comment below the first line of its file."""
    text = (conf_dir() / "sweep" / f"{sweep}.yaml").read_text(encoding="utf-8")
    return text.splitlines()[1].removeprefix("# ")


def no_sweep() -> ConfigError:
    """The error for a configuration that names nothing to search."""
    return ConfigError(
        "space must not be empty: choose a sweep, +sweep=NAME with NAME one of "
        f"{', '.join(shipped_sweeps())}"
    )
