"""An ordinary project with LightningCLI that searches its own initialization: no line of it changes.

    python scripts/cli_example.py fit --config scripts/cli_example.yaml

The project is the class and the data of `own_module_example.py` behind a LightningCLI. The search is five
lines of the configuration, marked in `cli_example.yaml`. They can be given on the command line as well:

    python scripts/cli_example.py fit --trainer.max_epochs=2 --trainer.callbacks+=initsearch.InitFinder \
        --trainer.callbacks.metric=val/acc --trainer.callbacks.mode=max

The fit begins with the search, prints its verdict, and trains with the plan that it found. It takes about a
minute.
"""

from collections.abc import Sequence

from lightning.pytorch.cli import LightningCLI
from own_module_example import Classifier, Digits

from initsearch import InitFinder


def main(args: Sequence[str] | None = None) -> LightningCLI:
    """What the project had before."""
    return LightningCLI(Classifier, Digits, args=None if args is None else list(args))


if __name__ == "__main__":
    done = main()
    for callback in done.trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, InitFinder) and callback.result is not None:
            print(callback.result)
