"""initsearch: hyperparameter search that treats weight initialization as a tunable.

`import initsearch` is light: a name loads what it needs when it is first used.
"""

from typing import TYPE_CHECKING

from initsearch.lazy import lazy_exports

if TYPE_CHECKING:
    from initsearch import race as race
    from initsearch.audit import IdentifyReport as IdentifyReport
    from initsearch.audit import assert_init as assert_init
    from initsearch.audit import identify as identify
    from initsearch.callback import InitCallback as InitCallback
    from initsearch.errors import ConfigError as ConfigError
    from initsearch.errors import DataError as DataError
    from initsearch.errors import InitSearchError as InitSearchError
    from initsearch.errors import ModelError as ModelError
    from initsearch.errors import NoEffectWarning as NoEffectWarning
    from initsearch.finder import InitFinder as InitFinder
    from initsearch.finder import InitFindResult as InitFindResult
    from initsearch.finder import init_find as init_find
    from initsearch.hydra_app import search_app as search_app
    from initsearch.initializers import Initializer as Initializer
    from initsearch.initializers import get_initializer as get_initializer
    from initsearch.initializers import list_initializers as list_initializers
    from initsearch.initializers import register as register
    from initsearch.plan import InitPlan as InitPlan
    from initsearch.plan import InitReport as InitReport
    from initsearch.plan import MupTable as MupTable
    from initsearch.plan import mup as mup
    from initsearch.signal import SignalReport as SignalReport
    from initsearch.signal import diagnose as diagnose
    from initsearch.space import Space as Space
    from initsearch.space import suggest_plan as suggest_plan
    from initsearch.version import __version__ as __version__

_MODULES = {
    "ConfigError": "errors",
    "DataError": "errors",
    "IdentifyReport": "audit",
    "InitCallback": "callback",
    "InitFindResult": "finder",
    "InitFinder": "finder",
    "InitPlan": "plan",
    "InitReport": "plan",
    "InitSearchError": "errors",
    "Initializer": "initializers",
    "ModelError": "errors",
    "MupTable": "plan",
    "NoEffectWarning": "errors",
    "SignalReport": "signal",
    "Space": "space",
    "__version__": "version",
    "assert_init": "audit",
    "diagnose": "signal",
    "get_initializer": "initializers",
    "identify": "audit",
    "init_find": "finder",
    "list_initializers": "initializers",
    "mup": "plan",
    "race": "",
    "register": "initializers",
    "search_app": "hydra_app",
    "suggest_plan": "space",
}

__all__ = sorted(_MODULES)

__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
