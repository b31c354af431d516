"""Spaces: what may vary in a plan; compiled to Optuna's distributions and, for a trial, to a plan."""

from initsearch.space.domain import Domain
from initsearch.space.space import Group, Space, Suggestion, suggest_plan

__all__ = ["Domain", "Group", "Space", "Suggestion", "suggest_plan"]
