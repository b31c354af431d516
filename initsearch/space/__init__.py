"""Spaces: what a search may vary in a plan, as Optuna distributions.

A space is read from a mapping or a YAML file, asks a trial for values, and turns them into a plan. Begin
reading at `space.py` (`Space`), then `group.py` (parameters that are initialized alike) and `domain.py`
(the values of one tunable).
"""

from initsearch.space.domain import Domain as Domain
from initsearch.space.group import Group as Group
from initsearch.space.space import Space as Space
from initsearch.space.space import Suggestion as Suggestion
from initsearch.space.space import suggest_plan as suggest_plan
