"""`initsearch-diagnose`, `python -m initsearch.diagnosis`: a model's signal on a batch of a data set.

Like `__main__`, this module imports next to nothing: Ctrl-C works from its first moments on.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(config: "DictConfig") -> None:
    """Print the report that a composed configuration asks for, and draw it."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from initsearch.chosen_groups import as_chosen
    from initsearch.model_report import DiagnosisSettings, report

    plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    chosen = as_chosen(plain, list(HydraConfig.get().overrides.task))
    print(report(DiagnosisSettings.parse("", chosen)))  # noqa: T201


def main() -> None:
    """Report on the model of the command line; raises `SystemExit` if it fails."""
    from initsearch.command import run_command
    from initsearch.shipped_configs import DIAGNOSE

    # An option without a value, as in other programs; Hydra has settings alone.
    sys.argv[1:] = ["identify=true" if word == "--identify" else word for word in sys.argv[1:]]
    run_command(DIAGNOSE, run)


if __name__ == "__main__":
    from initsearch.__main__ import diagnose

    diagnose()
