"""The race: from a table of paired scores to a decision and its sentence; needs NumPy and SciPy only.

`decide` takes a complete table, `Race` takes the scores block by block (a block is one seed), and both decide
at looks that `RaceRules` declares; `sentence` puts a decision into words. Begin reading at `race` (the rules),
then `look` (one decision) and `pairs` (its tests and intervals).
"""

from typing import TYPE_CHECKING

from initsearch.lazy import lazy_exports

if TYPE_CHECKING:
    from initsearch.race.power import Plan as Plan
    from initsearch.race.power import plan as plan
    from initsearch.race.race import Race as Race
    from initsearch.race.rules import BaselineGap as BaselineGap
    from initsearch.race.rules import BaselineStatus as BaselineStatus
    from initsearch.race.rules import Boundary as Boundary
    from initsearch.race.rules import Comparison as Comparison
    from initsearch.race.rules import Decision as Decision
    from initsearch.race.rules import RaceRules as RaceRules
    from initsearch.race.rules import Result as Result
    from initsearch.race.rules import Status as Status
    from initsearch.race.sentences import BITS as BITS
    from initsearch.race.sentences import DECIBELS as DECIBELS
    from initsearch.race.sentences import PLAIN as PLAIN
    from initsearch.race.sentences import POINTS as POINTS
    from initsearch.race.sentences import STEPS as STEPS
    from initsearch.race.sentences import SearchCounts as SearchCounts
    from initsearch.race.sentences import Unit as Unit
    from initsearch.race.sentences import after_races as after_races
    from initsearch.race.sentences import sentence as sentence
    from initsearch.race.table import Scores as Scores
    from initsearch.race.table import decide as decide
    from initsearch.race.table import race_over as race_over

_MODULES = {
    "BITS": "sentences",
    "BaselineGap": "rules",
    "BaselineStatus": "rules",
    "Boundary": "rules",
    "Comparison": "rules",
    "DECIBELS": "sentences",
    "Decision": "rules",
    "PLAIN": "sentences",
    "POINTS": "sentences",
    "Plan": "power",
    "Race": "race",
    "RaceRules": "rules",
    "Result": "rules",
    "STEPS": "sentences",
    "Scores": "table",
    "SearchCounts": "sentences",
    "Status": "rules",
    "Unit": "sentences",
    "after_races": "sentences",
    "decide": "table",
    "plan": "power",
    "race_over": "table",
    "sentence": "sentences",
}

__all__ = sorted(_MODULES)

__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
