"""A study's figures: the race, the paired gaps, the learning curves, the search.

`write_figures` makes those that have something to show; each is a function of a verdict, and of what was
measured. Begin reading at `write.py`, then `race.py`, which with `gaps_figure` is made of the rows of
`rows.py`; `canvas.py` has what all figures share.
"""

from typing import TYPE_CHECKING

from initsearch.lazy import lazy_exports

if TYPE_CHECKING:
    from initsearch.tracking.figures.curves import curves_figure as curves_figure
    from initsearch.tracking.figures.race import gaps_figure as gaps_figure
    from initsearch.tracking.figures.race import race_figure as race_figure
    from initsearch.tracking.figures.search import search_figure as search_figure
    from initsearch.tracking.figures.write import write_figures as write_figures

_MODULES = {
    "curves_figure": "curves",
    "gaps_figure": "race",
    "race_figure": "race",
    "search_figure": "search",
    "write_figures": "write",
}

__all__ = ["curves_figure", "gaps_figure", "race_figure", "search_figure", "write_figures"]


__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
