"""A race over a table of scores that is already there, in place of one that is trained block by block."""

from collections.abc import Collection, Mapping, Sequence
from numbers import Integral, Real

from initsearch.errors import ConfigError, unknown_name
from initsearch.race.race import Race
from initsearch.race.rules import Decision, RaceRules

Scores = Mapping[str, Mapping[int, float]]


def decide(
    scores: Scores,
    rules: RaceRules | None = None,
    baseline: str | None = None,
    simplicity: Mapping[str, int] | None = None,
) -> Decision:
    """Decide which candidate of a table of paired scores is best, or that they are tied.

    The table goes through a `Race`: seeds are added in ascending order up to each look that the rules declare,
    and the first look that decides ends the race; later seeds are not used. If the table ends before that, the
    decision is that of the last look it reaches, with a `status` of None, and seeds beyond that look are not
    used. The looks do not depend on the size of the table. It may therefore be extended and passed again with
    the same rules: `alpha` holds over all these calls together, if new seeds are larger than the old ones.

    Args:
        scores: Score by candidate and seed; NaN or infinite where a run diverged. A candidate needs a score for
            every seed up to the look that stops it or ends the race, and none afterwards. Of equal means, the
            earlier candidate leads.
        rules: The rules of the race. None: the defaults with `futility=0`, since ending early saves no
            training here. Set `max_seeds` to the number of seeds that you plan.
        baseline: What is in use now. The decision says whether it is beaten; it is compared on all seeds, even
            when it can no longer win.
        simplicity: Rank by name, smaller is simpler: which candidate of a tie to take, see `Race`.

    Returns:
        The decision of the last look; `sentence` puts it into words.

    Raises:
        ConfigError: Fewer than two candidates, fewer seeds than the first look needs, a missing score, a score
            that is not a number, a seed that is not an integer, or an unknown baseline.
    """
    return race_over(scores, rules, baseline, simplicity).decisions[-1]


def race_over(
    scores: Scores,
    rules: RaceRules | None = None,
    baseline: str | None = None,
    simplicity: Mapping[str, int] | None = None,
) -> Race:
    """The race behind `decide`, with all its decisions and results; same arguments and errors."""
    rules = rules or RaceRules(futility=0.0)
    _check_scores(scores)
    if baseline is not None and baseline not in scores:
        raise unknown_name("baseline", baseline, scores)
    seeds = sorted({int(seed) for by_seed in scores.values() for seed in by_seed})
    first = rules.schedule[0]
    if len(seeds) < first:
        declare = f", or declare max_seeds={len(seeds)}" if len(seeds) >= 2 else ""
        raise ConfigError(
            f"scores must have at least {first} seeds, for the first look: got {len(seeds)}; "
            f"add seeds{declare}"
        )
    race = Race(list(scores), rules, baseline=baseline, simplicity=simplicity)
    while race.next_look is not None and race.next_look <= len(seeds):
        due = seeds[len(race.seeds) : race.next_look]
        _check_complete(scores, race.active, due)
        for seed in due:
            race.add_block(seed, {name: float(scores[name][seed]) for name in race.active})
        race.decide()
    return race


def _check_scores(scores: object) -> None:
    """Refuse a table that is not scores by candidate and seed."""
    if not isinstance(scores, Mapping):
        raise ConfigError(
            f"scores must map each candidate to its scores by seed: got {type(scores).__name__}; "
            f"pass {{'a': {{0: 0.91, 1: 0.92}}, 'b': ...}}"
        )
    if len(scores) < 2:
        raise ConfigError(
            f"scores must have two or more candidates: got {list(scores)}; add what to compare with"
        )
    for name, by_seed in scores.items():
        if not isinstance(name, str) or not name:
            raise ConfigError(f"candidates must have names: got {name!r}; use a text")
        if not isinstance(by_seed, Mapping):
            raise ConfigError(
                f"scores of {name} must be a mapping from seeds to scores: "
                f"got {type(by_seed).__name__}; pass {{0: 0.91, 1: 0.92}}"
            )
        if not by_seed:
            raise ConfigError(f"scores of {name} are empty: add its scores, or leave it out")
        for seed, score in by_seed.items():
            if isinstance(seed, bool) or not isinstance(seed, Integral):
                raise ConfigError(f"seeds must be integers: got {seed!r} for {name}")
            if isinstance(score, bool) or not isinstance(score, Real):
                raise ConfigError(
                    f"score of {name} for seed {seed} must be a number: got {score!r}; "
                    f"use nan for a diverged run"
                )


def _check_complete(scores: Scores, active: Collection[str], seeds: Sequence[int]) -> None:
    """Refuse a table in which a candidate lacks seeds: which ones are missing may depend on the scores."""
    missing = {name: [seed for seed in seeds if seed not in scores[name]] for name in active}
    lacking = [
        f"{name} has none for {', '.join(map(str, absent))}"
        for name, absent in missing.items()
        if absent
    ]
    if lacking:
        raise ConfigError(
            f"candidates must have scores for the same seeds: {'; '.join(lacking)}; add them "
            f"(nan for a diverged run), or remove these seeds for every candidate"
        )
