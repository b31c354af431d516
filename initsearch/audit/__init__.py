"""What weights were drawn from: `identify` names it, `assert_init` checks it in a test suite.

Begin reading at `identify.py`, then `laws.py` (the candidates and their costs), `choice.py` (which few rules
explain a model best), `structure.py` (weights that are not drawn entry by entry) and `fit.py` (the tests).
`check.py` compares weights with a plan, `oddities.py` finds what is odd.
"""

from initsearch.audit.check import assert_init as assert_init
from initsearch.audit.identify import identify as identify
from initsearch.audit.report import IdentifiedRow as IdentifiedRow
from initsearch.audit.report import IdentifyReport as IdentifyReport
