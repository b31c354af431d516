"""The pages that `--help` prints; nothing heavy is imported for them, neither torch nor Hydra."""

import textwrap

from initsearch import __version__
from initsearch.shipped_configs import DIAGNOSE, options_of, question_of, shipped_sweeps

#: Columns of a page.
_WIDTH = 79

_SEARCH = """\
initsearch {version}: which initialization should I use, and does it matter?

usage: initsearch +sweep=NAME [setting=value ...]   (or python -m initsearch)

examples:
  initsearch +sweep=relu_convnet                     run it to its verdict
  initsearch +sweep=relu_mlp data=digits n_trials=8  change settings
  initsearch +sweep=relu_mlp model.activation=gelu   ask about another network
  initsearch +sweep=relu_mlp --cfg job               print all settings and exit
  initsearch --config-dir my_conf +sweep=mine        run my_conf/sweep/mine.yaml
  initsearch-diagnose model=convnet plan=he_normal   one model before training

The same command again resumes a sweep; a finished one prints its verdict.

sweeps:
{sweeps}

settings:
{groups}
  n_trials=          candidates in total, baselines included
  max_epochs=        the full budget of a training
  race.max_seeds=    the most seeds of the race
  race.margin=       differences up to this are equivalent (points, or the unit
                     of the metric)
  workers=           training processes (default: one per core, or per GPU);
                     0 trains in this process
  seed=              the seed of all splits, data orders and weights
  output_dir=        where results are written (default: outputs)
A setting that the configuration lacks is added by +, one that it has is removed
by ~. --cfg job shows them all, with a sweep's own values.

options:
  -h, --help         this page
  --version          the version of initsearch
  --config-dir DIR   look for sweeps and other groups in DIR as well
  --cfg job          print the composed configuration and exit
  --hydra-help       options of Hydra, which composes the configuration
"""

_DIAGNOSE = """\
initsearch-diagnose {version}: activations and gradients before the first update,
layer by layer, on a batch of a data set

usage: initsearch-diagnose [setting=value ...]

examples:
  initsearch-diagnose model=convnet data=mnist plan=he_normal
  initsearch-diagnose model=plain_cnn model.depth=30 output=signal.png
  initsearch-diagnose task=text data=inventory model=char_gpt plan=gpt2
  initsearch-diagnose '~model' +model._target_=mypackage.MyNet plan=winner.yaml

settings:
{groups}
  plan=              an initializer or a plan file (default: the framework's draw)
  batch_size=        examples, 2 or more
  seed=              draws the weights and the batch
  output=            a file for the figure: signal.png, signal.svg, signal.pdf
  identify=true      names what the weights were drawn from, without the signal

options:
  -h, --help         this page
  --identify         the same as identify=true
  --version          the version of initsearch
  --cfg job          print the composed configuration and exit
  --hydra-help       options of Hydra, which composes the configuration
"""


def help_page(config_name: str) -> str:
    """The page of a program.

    Args:
        config_name: Its configuration: `SEARCH` or `DIAGNOSE`.
    """
    page, groups = _SEARCH, ["task", "data", "model", "optimizer", "trainer"]
    if config_name == DIAGNOSE:
        page, groups = _DIAGNOSE, ["data", "model"]
    choices = "\n".join(map(_choices, groups))
    return page.format(version=__version__, sweeps=_sweeps(), groups=choices)


def _choices(group: str) -> str:
    """A config group with its names, `  data=digits|mnist`, over as many lines as it takes."""
    start = f"  {group}="
    names = textwrap.fill(" ".join(options_of(group)), _WIDTH - len(start) - 1)
    return start + names.replace(" ", "|").replace("\n", "|\n" + " " * len(start))


def _sweeps() -> str:
    names = shipped_sweeps()
    column = max(map(len, names)) + 4
    return "\n".join(
        textwrap.fill(
            question_of(name),
            _WIDTH,
            initial_indent=f"  {name}".ljust(column),
            subsequent_indent=" " * column,
        )
        for name in names
    )
