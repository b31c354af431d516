"""Plans: ordered rules that say which initializer fills which parameter of a model."""

from initsearch.plan._plan import InitPlan
from initsearch.plan._presets import list_plans
from initsearch.plan._report import InitReport, ParameterRow
from initsearch.plan._rules import Rule, Where

__all__ = ["InitPlan", "InitReport", "ParameterRow", "Rule", "Where", "list_plans"]
