"""The race: from a table of paired scores to a decision and its sentence; needs NumPy and SciPy only.

`decide` takes a complete table, `Race` takes the scores block by block (a block is one seed), and both decide
at looks that `RaceRules` declares; `sentence` puts a decision into words. Begin reading at `race` (the rules),
then `look` (one decision) and `pairs` (its tests and intervals).
"""

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
from initsearch.race.sentence import BITS as BITS
from initsearch.race.sentence import DECIBELS as DECIBELS
from initsearch.race.sentence import PLAIN as PLAIN
from initsearch.race.sentence import POINTS as POINTS
from initsearch.race.sentence import STEPS as STEPS
from initsearch.race.sentence import SearchCounts as SearchCounts
from initsearch.race.sentence import Unit as Unit
from initsearch.race.sentence import after_races as after_races
from initsearch.race.sentence import sentence as sentence
from initsearch.race.table import Scores as Scores
from initsearch.race.table import decide as decide
from initsearch.race.table import race_over as race_over
