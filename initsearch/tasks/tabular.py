"""The task `tabular`: a column of a table from the others, by classification or regression."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch

from initsearch.digests import hex_digest
from initsearch.errors import ConfigError, DataError, unknown_name
from initsearch.settings import one_of
from initsearch.tasks.data.examples import Examples, ExampleSettings, TargetKind, held_out

if TYPE_CHECKING:
    import pandas as pd

#: Tables that come with scikit-learn, and those that are made here.
SKLEARN = ("breast_cancer", "diabetes", "iris", "wine")
NAMES = (*SKLEARN, "rare_classes", "table")
#: A column of integers with no more different values than this is read as classes.
MOST_CLASSES = 20
#: `rare_classes`: number of rows, of columns, and the share of each class.
ROWS, COLUMNS, SHARES = 6000, 20, (0.94, 0.02, 0.02, 0.02)


class TableSettings(ExampleSettings):
    """The config group `data` of the task `tabular`.

    Attributes:
        name: A table of scikit-learn (`breast_cancer`, `diabetes`, `iris`, `wine`); `rare_classes`, which is
            generated: three of its four classes have 2 % of the rows each; or `table`, a file of one's own.
        path: The file of `table`, CSV or parquet, with a header.
        target: The column to predict.
        kind: `classification`, `regression`, or `auto`: classification for text, truth values and integers of
            at most 20 different values.
        train_size: See `ExampleSettings`.
        val_size: See `ExampleSettings`.
    """

    name: Annotated[str, one_of("data", NAMES)] = "diabetes"
    path: str | None = None
    target: str | None = None
    kind: Literal["auto", "classification", "regression"] = "auto"

    def load(self) -> Examples:
        """The rows; a sixth is the test set. Columns are standardised by the training part of each seed.

        Columns of text and truth values become a column of zeros and ones for each of their values.

        Raises:
            ConfigError: No file or target is named, or there is no such column.
            DataError: The file cannot be read, or values are missing.
        """
        if self.name == "table":
            return self._own()
        if self.name == "rare_classes":
            from sklearn.datasets import make_classification

            x, y = make_classification(
                ROWS,
                COLUMNS,
                n_informative=10,
                n_classes=len(SHARES),
                n_clusters_per_class=1,
                weights=list(SHARES),
                flip_y=0.0,
                random_state=0,
            )
            return _examples(self.name, self.name, x, y, "class", list("abcd"))
        from sklearn import datasets

        bunch = getattr(datasets, f"load_{self.name}")()
        if self.name == "diabetes":
            return _examples(self.name, self.name, bunch.data, bunch.target, "numbers", [])
        names = [str(name) for name in bunch.target_names]
        return _examples(self.name, self.name, bunch.data, bunch.target, "class", names)

    def _own(self) -> Examples:
        import pandas as pd

        frame = self._frame()
        if self.target is None:
            raise ConfigError(
                f"data.target must be the column to predict, but is missing: data.target={frame.columns[-1]}"
            )
        if self.target not in frame.columns:
            raise unknown_name("data.target", self.target, map(str, frame.columns))
        missing = [str(name) for name in frame.columns if frame[name].isna().any()]
        if missing:
            raise DataError(
                f"data.path must be a table without missing values, but column {missing[0]!r} of "
                f"{self.path!r} has some: fill them in, or drop the rows or the column"
            )
        target = frame.pop(self.target)
        x = pd.get_dummies(frame, dtype=float).to_numpy(dtype=np.float64)
        if x.shape[1] == 0:
            raise DataError(
                f"data.path must have columns beside {self.target!r}, but has none: add some"
            )
        name = f"table:{Path(str(self.path)).stem}"
        contents = hex_digest(f"{x.tobytes()!r}{target.to_list()!r}", 8)
        if self._has_classes(target):
            classes, y = np.unique(target.to_numpy().astype(str), return_inverse=True)
            return _examples(name, contents, x, y, "class", [str(label) for label in classes])
        y = target.to_numpy(dtype=np.float64)
        if np.ptp(y) == 0:
            raise DataError(
                f"data.target must vary, but all of {self.target!r} are {y[0]:g}: give another"
            )
        return _examples(name, contents, x, y, "numbers", [])

    def _has_classes(self, target: "pd.Series") -> bool:
        from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype

        if self.kind != "auto":
            return self.kind == "classification"
        if is_bool_dtype(target) or not is_numeric_dtype(target):
            return True
        return bool(is_integer_dtype(target) and target.nunique() <= MOST_CLASSES)

    def _frame(self) -> "pd.DataFrame":
        import pandas as pd

        if self.path is None:
            raise ConfigError("data.path must be set for data=table: data.path=table.csv")
        path = Path(self.path).expanduser()
        read = pd.read_parquet if path.suffix.lower() in (".parquet", ".pq") else pd.read_csv
        try:
            return read(path)
        # What pandas and its readers raise: a missing file or reader, and a file of another kind.
        except (OSError, ImportError, ValueError) as error:
            raise DataError(
                f"data.path must be a CSV or parquet file, but {self.path!r} cannot be read ({error}): correct "
                "the path"
            ) from error


def _examples(
    name: str,
    contents: str,
    x: "np.ndarray",
    y: "np.ndarray",
    kind: TargetKind,
    classes: list[str],
) -> Examples:
    inputs = torch.from_numpy(np.array(x, dtype=np.float32))
    targets = torch.from_numpy(np.array(y))
    targets = targets.long() if kind == "class" else targets.float().reshape(-1, 1)
    rare = kind == "class" and int(targets.bincount().min()) * len(classes) < 0.5 * len(targets)
    main = ("balanced_accuracy" if rare else "accuracy") if kind == "class" else "rmse"
    return Examples(
        name,
        contents,
        *held_out(inputs, targets, kind, name, tuple(classes)),
        kind=kind,
        outputs=len(classes) if kind == "class" else 1,
        main=main,
        standardize=True,
        classes=tuple(classes),
    )
