"""Plans: ordered rules that say which initializer fills which parameter of a model."""

from initsearch.plan.plan import InitPlan
from initsearch.plan.presets import list_plans
from initsearch.plan.report import InitReport, ParameterRow
from initsearch.plan.rules import Rule, Where

__all__ = ["InitPlan", "InitReport", "ParameterRow", "Rule", "Where", "list_plans"]
