"""What is kept and shown of a study: MLflow runs, figures, tables, the terminal.

A study reports to a `Tracker` (`initsearch.search.tracker`): `MlflowTracker` and `ReportTracker` are two, and
`TrackerGroup` makes one of several. `store/` has MLflow, `words/` the tables and sentences, `figures/` the
pictures; begin reading at `report.py`, the shorter of the two trackers. Importing this package loads neither
MLflow nor matplotlib: a name loads what it needs.
"""

import os
from typing import TYPE_CHECKING

from initsearch.lazy import lazy_exports

# MLflow decides at its import whether it reports usage to its makers. By default, a search calls no server;
# to let it report, set the variable to `false`.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

if TYPE_CHECKING:
    from initsearch.tracking.group import TrackerGroup as TrackerGroup
    from initsearch.tracking.report import ReportTracker as ReportTracker
    from initsearch.tracking.store.condition import has_records as has_records
    from initsearch.tracking.store.condition import prepare_store as prepare_store
    from initsearch.tracking.store.mlflow_tracker import MlflowTracker as MlflowTracker
    from initsearch.tracking.store.places import ui_command as ui_command
    from initsearch.tracking.words.progress_bar import SearchProgress as SearchProgress
    from initsearch.tracking.words.terminal import print_verdict as print_verdict

_MODULES = {
    "MlflowTracker": "store.mlflow_tracker",
    "ReportTracker": "report",
    "SearchProgress": "words.progress_bar",
    "TrackerGroup": "group",
    "has_records": "store.condition",
    "prepare_store": "store.condition",
    "print_verdict": "words.terminal",
    "ui_command": "store.places",
}

__all__ = [
    "MlflowTracker",
    "ReportTracker",
    "SearchProgress",
    "TrackerGroup",
    "has_records",
    "prepare_store",
    "print_verdict",
    "ui_command",
]


__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
