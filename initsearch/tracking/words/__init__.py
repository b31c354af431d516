"""A verdict in words and numbers: tables and sentences, for the terminal, for files and for MLflow.

`print_verdict` shows a verdict, `SearchProgress` shows how far a study is, `leaderboard_rows` is the table that
all others are made of. Begin reading at `terminal.py`; `number_format.py` says how numbers are written,
`wrap.py` how names are.
"""

from typing import TYPE_CHECKING

from initsearch.lazy import lazy_exports

if TYPE_CHECKING:
    from initsearch.tracking.words.leaderboard import leaderboard_rows as leaderboard_rows
    from initsearch.tracking.words.leaderboard import write_csv as write_csv
    from initsearch.tracking.words.number_format import format_of as format_of
    from initsearch.tracking.words.progress_bar import SearchProgress as SearchProgress
    from initsearch.tracking.words.tables import markdown_table as markdown_table
    from initsearch.tracking.words.tables import rich_table as rich_table
    from initsearch.tracking.words.terminal import print_verdict as print_verdict

_MODULES = {
    "SearchProgress": "progress_bar",
    "format_of": "number_format",
    "leaderboard_rows": "leaderboard",
    "markdown_table": "tables",
    "print_verdict": "terminal",
    "rich_table": "tables",
    "write_csv": "leaderboard",
}

__all__ = [
    "SearchProgress",
    "format_of",
    "leaderboard_rows",
    "markdown_table",
    "print_verdict",
    "rich_table",
    "write_csv",
]


__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
