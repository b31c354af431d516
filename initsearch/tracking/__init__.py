"""What is kept of a study: MLflow runs, figures, tables, and what the terminal shows.

Importing this package loads neither MLflow nor matplotlib; a name loads what it needs.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# MLflow decides at its import whether it reports usage to its makers. A search should call nobody;
# whoever wants it otherwise sets the variable.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

if TYPE_CHECKING:
    from initsearch.tracking.group import TrackerGroup as TrackerGroup
    from initsearch.tracking.mlflow_tracker import MlflowTracker as MlflowTracker
    from initsearch.tracking.places import check_store as check_store
    from initsearch.tracking.places import ui_command as ui_command
    from initsearch.tracking.report import ReportTracker as ReportTracker
    from initsearch.tracking.terminal import SearchProgress as SearchProgress
    from initsearch.tracking.terminal import print_verdict as print_verdict

_HOMES = {
    "MlflowTracker": "mlflow_tracker",
    "ReportTracker": "report",
    "SearchProgress": "terminal",
    "TrackerGroup": "group",
    "check_store": "places",
    "print_verdict": "terminal",
    "ui_command": "places",
}

__all__ = [
    "MlflowTracker",
    "ReportTracker",
    "SearchProgress",
    "TrackerGroup",
    "check_store",
    "print_verdict",
    "ui_command",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
