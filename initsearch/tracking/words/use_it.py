"""How to apply the plan that a verdict recommends: the call that a reader copies."""

import os

from initsearch.plan.rules import code_in
from initsearch.search.verdict import Verdict


def callback_call(verdict: Verdict, path: str | os.PathLike[str]) -> str:
    """The call of `InitCallback` that applies `winner.yaml`, with the Python code that the file names allowed.

    Args:
        verdict: Whose recommendation.
        path: The plan file, as the reader finds it.
    """
    code = set(code_in(verdict.to_take.plan))
    allowed = f", allow_code={sorted(code)}" if code else ""
    return f'InitCallback("{os.fspath(path)}"{allowed})'
