"""Training stays general: it names no data set, no architecture and no loss."""

import ast
from pathlib import Path

import pytest

import initsearch.training

ROOM = Path(str(initsearch.training.__file__)).parent
FILES = sorted(ROOM.glob("*.py"))
#: What belongs to a task; the protocol (`tasks.base`), streams and optimizers are common to all.
OF_A_TASK = (
    "initsearch.tasks.data",
    "initsearch.tasks.models",
    "initsearch.tasks.image_classification",
    "torchvision",
    "sklearn",
)
#: `torch.nn.functional` has the losses; their names end like these.
LOSSES = ("cross_entropy", "_loss", "Loss")


def names(tree: ast.AST) -> set[str]:
    """Every name and attribute of a module, and what it imports."""
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    found |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_all_files_of_the_room_are_looked_at() -> None:
    assert {"cohort.py", "loop_engine.py", "stacked_engine.py"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_names_neither_data_nor_models_nor_losses(path: Path) -> None:
    found = names(ast.parse(path.read_text(encoding="utf-8")))
    assert not {name for name in found if name.startswith(OF_A_TASK)}
    own = {"initial_loss", "last_loss", "train_loss", "_loss", "_TrainingLoss"}
    own |= {name for name in found if name.startswith("initsearch.training")}
    assert not {name for name in found if name.endswith(LOSSES)} - own
    assert not {name for name in found if name.startswith("torch.nn.functional")}
