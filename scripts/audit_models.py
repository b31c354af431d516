"""What published models are drawn from: `identify` on small configurations, compared with two truths.

The first truth is what each model's own code did to its parameters while it was built (`audit_oracle.py`), for
all models of `audit_zoo.py`. The second is their source code, read for a sample of them. A tensor is right if
`identify` names the same distribution, with numbers that agree to .5 %; what was computed and not drawn must be
`unknown`. No weights are downloaded.

    python scripts/audit_models.py
    python scripts/audit_models.py --repetitions 5 "timm *"
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase

import torch
from audit_oracle import OTHER, PARTS, Law, Recording, same_law, simplified
from audit_zoo import SOURCES, ZOO, Truth
from torch import nn

from initsearch import identify
from initsearch.audit.identified import Identified
from initsearch.audit.identify import identified
from initsearch.audit.units import units_of
from initsearch.layers import describe

# What is computed, and has a name: `_init_weights` of transformers' MambaPreTrainedModel.
COMPUTED = {"*.mixer.A_log": "mamba_decay", "*.mixer.dt_proj.bias": "mamba_step"}


def is_right(truth: Truth, parameter: str, found: str) -> bool | None:
    """Whether an initializer is that of the source; None if the truth does not have the parameter."""
    for pattern, names in truth:
        if fnmatchcase(parameter, pattern):
            return any(fnmatchcase(found, name) for name in names.split("|"))
    return None


def agrees(each: Identified, truth: Law) -> bool:
    """Whether what was identified is what the model's code has drawn."""
    law = each.distribution
    if truth == OTHER:
        name = each.unit.slot.name
        named = (family for pattern, family in COMPUTED.items() if fnmatchcase(name, pattern))
        return each.family == next(named, "unknown")
    if truth[0] == "orthogonal":
        return each.family == "orthogonal" and same_law(truth, "orthogonal", (each.scale,))
    return law is not None and same_law(truth, law.kind, law.numbers)


def against_code(model: nn.Module, truth: Recording, counts: Counter[str]) -> Iterator[str]:
    """Count the tensors of a model that are right, and yield a line for each that is wrong."""
    for each in identified(units_of(model, describe(model))):
        name = each.unit.slot.name
        law = truth.laws.get(name, PARTS)
        if law == PARTS:
            counts["not recorded"] += 1
            continue
        counts["tensors"] += 1
        if not agrees(each, law):
            counts["wrong"] += 1
            kind, numbers = simplified(law)
            drawn = ", ".join(f"{number:.4g}" for number in numbers)
            yield f"    {each.unit.name} {each.unit.slot.shape}: {each.label}, but drawn as {kind}({drawn})"


def against_source(name: str, model: nn.Module, counts: Counter[str]) -> Iterator[str]:
    """The same with the names that the source has."""
    for row in identify(model).rows:
        right = is_right(SOURCES[name][1], row.parameter, row.initializer)
        if right is None:
            raise SystemExit(f"{name}: the truth has no pattern for {row.parameter}: add one")
        counts["tensors"] += 1
        if not right:
            counts["wrong"] += 1
            yield f"    {row.parameter}: {row.initializer} ({row.confidence:.2f}), unlike its source"


def main() -> None:
    """Print a line per model with its tensors, the number of wrong ones, and each wrong one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["*"], help="patterns of names (default: all)")
    parser.add_argument("--repetitions", type=int, default=1, help="seeds of each model")
    arguments = parser.parse_args()
    chosen = [n for n in ZOO if any(fnmatchcase(n, pattern) for pattern in arguments.models)]
    by_code, by_source = Counter[str](), Counter[str]()
    print(f"{'model':40}  tensors  wrong  not recorded")
    for name in chosen:
        counts = Counter[str]()
        lines: list[str] = []
        for seed in range(arguments.repetitions):
            torch.manual_seed(seed)
            model, truth = Recording.of(ZOO[name])
            lines += against_code(model, truth, counts)
            if name in SOURCES:
                lines += against_source(name, model, by_source)
        by_code += counts
        numbers = (counts["tensors"], counts["wrong"], counts["not recorded"])
        print(
            f"{name:40}  {numbers[0]:7d}  {numbers[1]:5d}  {numbers[2]:12d}",
            *lines,
            sep="\n",
            flush=True,
        )
    for title, counts in (("their own code", by_code), ("their sources", by_source)):
        wrong, total = counts["wrong"], counts["tensors"]
        print(f"against {title}: {wrong} of {total} wrong, {wrong / max(total, 1):.2%}")
    print(f"{len(chosen)} models")


if __name__ == "__main__":
    main()
