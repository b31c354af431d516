"""A study's records in MLflow: its database, its runs, what they are labelled with.

`MlflowTracker` writes them while a study runs; `prepare_store` looks at a database before it is opened, puts a
damaged one aside and follows a folder that was moved. Begin reading at `mlflow_tracker.py`; `places.py` says
where everything is. Only the tracker loads MLflow.
"""

from typing import TYPE_CHECKING

from initsearch.lazy import lazy_exports

if TYPE_CHECKING:
    from initsearch.tracking.store.condition import has_records as has_records
    from initsearch.tracking.store.condition import prepare_store as prepare_store
    from initsearch.tracking.store.mlflow_tracker import MlflowTracker as MlflowTracker
    from initsearch.tracking.store.places import artifact_root as artifact_root
    from initsearch.tracking.store.places import tracking_uri as tracking_uri
    from initsearch.tracking.store.places import ui_command as ui_command

_MODULES = {
    "MlflowTracker": "mlflow_tracker",
    "artifact_root": "places",
    "has_records": "condition",
    "prepare_store": "condition",
    "tracking_uri": "places",
    "ui_command": "places",
}

__all__ = [
    "MlflowTracker",
    "artifact_root",
    "has_records",
    "prepare_store",
    "tracking_uri",
    "ui_command",
]


__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
