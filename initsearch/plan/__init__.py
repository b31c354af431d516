"""Plans: ordered rules that choose an initializer for each parameter of a model.

A plan is read from a name, a mapping or a YAML file, resolved on a model to one assignment per
parameter, and carried out. Begin reading at `plan.py` (`InitPlan`), then `rules.py` (which rule applies
where) and `fill.py` (how parameters are filled).
"""

from initsearch.plan.plan import InitPlan as InitPlan
from initsearch.plan.presets import list_plans as list_plans
from initsearch.plan.report import InitReport as InitReport
from initsearch.plan.report import ParameterRow as ParameterRow
from initsearch.plan.rules import Rule as Rule
from initsearch.plan.rules import Where as Where
from initsearch.plan.width import MupTable as MupTable
from initsearch.plan.width import mup as mup
