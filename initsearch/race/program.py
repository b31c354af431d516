"""`python -m initsearch.race scores.csv`: the decision on a CSV file of scores, with a table and a drawing."""

import argparse
import math
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import NoReturn

from initsearch.errors import ConfigError, InitSearchError
from initsearch.race.race import Race
from initsearch.race.report import ASCII, UNICODE, Glyphs, drawing, table
from initsearch.race.rules import RaceRules
from initsearch.race.score_file import read_scores
from initsearch.race.sentences import PLAIN, POINTS, Unit, sentence
from initsearch.race.table import Scores, race_over

DEFAULTS = RaceRules(futility=0.0)
UNITS = {"plain": PLAIN, "points": POINTS}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: Those of the command line; None: `sys.argv`.

    Returns:
        The exit status: 0, or 1 after an error, which is one line on standard error.
    """
    try:
        options = _parser().parse_args(arguments)
        unit = UNITS[options.unit]
        scores = read_scores(options.scores)
        _check_unit(scores, options.unit)
        race = race_over(scores, _rules(options, unit), options.baseline)
    except InitSearchError as error:
        sys.stderr.write(f"error: {_as_options(' '.join(str(error).split()))}\n")
        return 1
    encoding = sys.stdout.encoding or "utf-8"
    text = _report(race, scores, options, unit, _glyphs(encoding))
    # A name that the terminal cannot show must not prevent the rest.
    sys.stdout.write(text.encode(encoding, errors="replace").decode(encoding))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m initsearch.race",
        description="Decide which candidate of a table of paired scores is best, or that they are tied.",
        epilog="The file has columns candidate,seed,score, or seed and one column per candidate, or candidate "
        "and one column per seed. An empty cell is a run that does not exist; nan or diverged is a run that "
        "diverged.",
    )
    parser.add_argument("scores", type=Path, help="CSV file")
    parser.add_argument(
        "--alpha",
        type=float,
        default=DEFAULTS.alpha,
        help="probability of a false winner over all looks (default: %(default)s)",
    )
    parser.add_argument(
        "--margin",
        type=float,
        help="smallest gap that matters, in the chosen unit (default: 0.001, or 0.1 points)",
    )
    parser.add_argument(
        "--max-seeds",
        type=int,
        default=DEFAULTS.max_seeds,
        help="number of seeds planned, which is the last look (default: %(default)s)",
    )
    parser.add_argument(
        "--looks",
        type=_looks,
        default=DEFAULTS.looks,
        help=f"numbers of seeds at which to decide (default: {','.join(map(str, DEFAULTS.looks))})",
    )
    parser.add_argument(
        "--futility",
        type=float,
        default=DEFAULTS.futility,
        help="end undecided if the remaining seeds would decide with a probability below this (default: 0)",
    )
    parser.add_argument(
        "--lower-is-better", action="store_true", help="the scores are losses, times or errors"
    )
    parser.add_argument(
        "--diverged-score",
        type=float,
        help="score of a diverged run, as in the file (default: worse than the worst score)",
    )
    parser.add_argument(
        "--baseline", metavar="NAME", help="a candidate that is compared on all seeds"
    )
    parser.add_argument(
        "--unit",
        choices=sorted(UNITS),
        default="plain",
        help="points: scores are shares (0.93), shown in percent (default: %(default)s)",
    )
    return parser


def _looks(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(look) for look in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be integers separated by commas, such as 4,6,8,12: got {text!r}"
        ) from None


def _rules(options: argparse.Namespace, unit: Unit) -> RaceRules:
    return RaceRules(
        alpha=options.alpha,
        margin=DEFAULTS.margin if options.margin is None else options.margin / unit.scale,
        looks=options.looks,
        max_seeds=options.max_seeds,
        futility=options.futility,
        higher_is_better=not options.lower_is_better,
        diverged_score=options.diverged_score,
    )


def _check_unit(scores: Scores, unit: str) -> None:
    """Refuse percentages that would be multiplied by 100 once more."""
    every = (score for by_seed in scores.values() for score in by_seed.values())
    largest = max((abs(score) for score in every if math.isfinite(score)), default=0.0)
    if unit == "points" and largest > 1.0:
        raise ConfigError(
            f"--unit points needs shares of at most 1: got {largest:g}; use --unit plain"
        )


def _as_options(text: str) -> str:
    """The text with the rules called as the options are: `race.max_seeds` becomes `--max-seeds`."""
    names = "|".join(rule.name for rule in fields(RaceRules))
    return re.sub(rf"\brace\.({names})\b", lambda m: f"--{m[1].replace('_', '-')}", text)


def _glyphs(encoding: str) -> Glyphs:
    try:
        "".join(vars(UNICODE).values()).encode(encoding)
    except UnicodeEncodeError:
        return ASCII
    return UNICODE


def _report(
    race: Race, scores: Scores, options: argparse.Namespace, unit: Unit, glyphs: Glyphs
) -> str:
    decision = race.decisions[-1]
    said = _as_options(sentence(decision, options.scores.name, unit))
    if decision.status in ("winner", "tie"):
        said = f"{decision.status}: {said}"
    parts = [
        said,
        table(decision, race.results(), unit, options.baseline, glyphs),
        drawing(decision, unit, glyphs, shutil.get_terminal_size().columns),
        _rules_line(race, unit),
    ]
    return "\n\n".join(parts) + _unused(race, scores) + "\n"


def _rules_line(race: Race, unit: Unit) -> str:
    rules = race.rules
    looks = ", ".join(map(str, rules.schedule))
    return f"alpha {rules.alpha:g}, margin {unit.amount(rules.margin)}, looks at {looks} seeds"


def _unused(race: Race, scores: Scores) -> str:
    """What became of seeds of the file that no look used, and when the next look is due."""
    total, used = len({seed for by_seed in scores.values() for seed in by_seed}), len(race.seeds)
    text = f"; {used} of {total} seeds used" if used < total else ""
    if race.next_look is not None:
        text += (
            f"\nnot decided: the next look is at {race.next_look} seeds; add seeds with larger numbers "
            f"and run this again, or pass --max-seeds {total} if no more were planned"
        )
    return text
