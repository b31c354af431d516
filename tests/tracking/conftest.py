"""A store of MLflow's takes seconds to make: it is made once, and each test gets a copy."""

import shutil
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from initsearch.tracking.store.database import open_client
from initsearch.tracking.store.mlflow_tracker import MlflowTracker
from initsearch.tracking.store.places import tracking_uri


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    open_client(tracking_uri(folder))
    return folder / "mlflow.db"


@pytest.fixture
def output(empty_store: Path, tmp_path: Path) -> Path:
    """An output folder with an empty store."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    return folder


@pytest.fixture
def tracker(output: Path) -> MlflowTracker:
    return MlflowTracker.in_folder(output)


@pytest.fixture
def client(output: Path) -> MlflowClient:
    """An eye of its own on the same store."""
    return open_client(tracking_uri(output))
