"""Search the initialization of what a user already has: `init_find`, in the shape of Lightning's `lr_find`.

Its first argument is a LightningModule, a function that scores a plan, or a task. It returns an
`InitFindResult` with the verdict and the plan to take. `InitFinder` is the same as a callback.
Begin reading at `find.py`.
"""

from typing import TYPE_CHECKING

from initsearch.lazy import lazy_exports

if TYPE_CHECKING:
    from initsearch.finder.callback import InitFinder as InitFinder
    from initsearch.finder.find import init_find as init_find
    from initsearch.finder.result import InitFindResult as InitFindResult

__getattr__, __dir__ = lazy_exports(
    __name__, {"InitFindResult": "result", "InitFinder": "callback", "init_find": "find"}
)
