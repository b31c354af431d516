"""The verdict of a study: its record, and what builds it from a race and a search.

`record` has the dataclasses of `verdict.json`, `builder` fills them after a race, and `one_scheme` where there
was nothing to race. Begin reading at `record`; the rest adds counts, rates and speed.
"""

from typing import TYPE_CHECKING

from initsearch.lazy import lazy_exports

if TYPE_CHECKING:
    from initsearch.search.verdict.record import BaselineAnswer as BaselineAnswer
    from initsearch.search.verdict.record import CandidateStatus as CandidateStatus
    from initsearch.search.verdict.record import Evidence as Evidence
    from initsearch.search.verdict.record import HeldOutScore as HeldOutScore
    from initsearch.search.verdict.record import ImageCounts as ImageCounts
    from initsearch.search.verdict.record import RateGap as RateGap
    from initsearch.search.verdict.record import SchemeRate as SchemeRate
    from initsearch.search.verdict.record import SearchRow as SearchRow
    from initsearch.search.verdict.record import Speed as Speed
    from initsearch.search.verdict.record import Standing as Standing
    from initsearch.search.verdict.record import Verdict as Verdict

__getattr__, __dir__ = lazy_exports(
    __name__,
    dict.fromkeys(
        (
            "BaselineAnswer",
            "CandidateStatus",
            "Evidence",
            "HeldOutScore",
            "ImageCounts",
            "RateGap",
            "SchemeRate",
            "SearchRow",
            "Speed",
            "Standing",
            "Verdict",
        ),
        "record",
    ),
)
