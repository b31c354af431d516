"""The plans that are candidates of a study from the start, as a user lists them."""

from collections.abc import Mapping, Sequence
from typing import Any

from initsearch.checks import check_name
from initsearch.errors import ConfigError, quoted
from initsearch.plan import InitPlan


def read_baselines(spec: Any, allow_code: Sequence[str] = ()) -> dict[str, InitPlan]:
    """The plans of the baselines by name; plan files are read here, once.

    Args:
        spec: A name, a list of names and of mappings, or a mapping of names to plans.
        allow_code: The Python code that plan files may name; see `InitPlan.load`.

    Raises:
        ConfigError: Something else, or a plan that breaks a rule.
    """
    if isinstance(spec, str):
        spec = [spec]
    if not isinstance(spec, Mapping | list | tuple | None):
        raise ConfigError(
            f"baselines must be a list of plans or a mapping of names to plans, but got {quoted(spec)}: "
            "try [torch_default]"
        )
    named: dict[str, Any] = {}
    for entry in [spec] if isinstance(spec, Mapping) else spec or ():
        named |= entry if isinstance(entry, Mapping) else {str(entry): entry}
    plans: dict[str, InitPlan] = {}
    for name, plan in named.items():
        check_name("a name in baselines", name)
        try:
            plans[name] = InitPlan.from_spec(plan, allow_code)
        except ConfigError as error:
            raise ConfigError(f"baseline {quoted(name)}: {error}") from error
    return plans
