"""Compare two folders of studies: scores, learning curves, verdicts and file names.

Studies are matched by their sweep, data set and seed: run the same command lines before and after a change that
is not meant to change results. Scores must be equal bit for bit, and so must every measurement of a learning
curve that both sides have; otherwise, or if a study is missing, the exit status is 1. (With several workers,
blocks of a race that were begun ahead may be measured on one side only.) Other differences are printed: of the
verdict's fields (all but times and versions) and of the files' names.

    python scripts/compare_studies.py BEFORE AFTER
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

#: Fields of a verdict that differ from run to run.
OF_A_RUN = ("wall_seconds", "cpu_seconds", "versions")
#: Differences of one kind that are printed for a study; the rest is counted.
SHOWN = 12

Study = tuple[str, str, int]


def studies(folder: Path) -> dict[Study, Path]:
    """The finished studies of an output folder, by sweep, data set and seed."""
    found = {}
    for file in sorted(folder.glob("*/verdict.json")):
        settings = json.loads((file.parent / "settings.json").read_text(encoding="utf-8"))
        dataset = json.loads(file.read_text(encoding="utf-8"))["dataset"]
        found[settings["name"], dataset, settings["seed"]] = file.parent
    return found


def scores(study: Path) -> dict[str, Any]:
    """The verdict's scores and test scores, by candidate and seed."""
    verdict = json.loads((study / "verdict.json").read_text(encoding="utf-8"))
    raced = {
        f"{candidate['name']} seed {seed}": score
        for candidate in verdict["candidates"]
        for seed, score in candidate["scores"].items()
    }
    tested = {
        f"test of {part['name']} seed {seed}": score
        for part in verdict["test"].values()
        for seed, score in part["by_seed"].items()
    }
    return raced | tested


def curves(study: Path) -> dict[str, Any]:
    """All measurements that the jobs kept, by candidate, seed and epoch."""
    found: dict[str, Any] = {}
    for file in sorted((study / "jobs").glob("*.json")):
        for curve in json.loads(file.read_text(encoding="utf-8"))["curves"]:
            who = f"{curve['candidate']} seed {curve['seed']}"
            found[f"{who} initial loss"] = curve["initial_loss"]
            for point in curve["points"]:
                # Before scores had names of any kind, a point had two fields for them.
                found[f"{who} epoch {point['epoch']}"] = sorted(
                    {**point, **point.get("scores", {}), "scores": None}.items()
                )
    return found


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested data, by their dotted names."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from flat(entry, f"{name}.{key}".removeprefix("."))
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            yield from flat(entry, f"{name}[{number}]")
    else:
        yield name, value


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What both sides have with different values, a line each; a value is its text, bit for bit."""
    return [
        f"{name}: {before[name]!r} before, {after[name]!r} after"
        for name in before
        if name in after and repr(before[name]) != repr(after[name])
    ]


def unmatched(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What one side has alone, a line each."""
    lines = [f"only before: {name}" for name in before if name not in after]
    return lines + [f"only after: {name}" for name in after if name not in before]


def verdict_fields(study: Path) -> dict[str, Any]:
    """The leaves of a verdict, without what differs from run to run."""
    verdict = json.loads((study / "verdict.json").read_text(encoding="utf-8"))
    return dict(flat({key: value for key, value in verdict.items() if key not in OF_A_RUN}))


def files(study: Path) -> dict[str, Any]:
    """The names of a study's files; results of jobs are named by hashes, and counted."""
    names = [file.relative_to(study) for file in sorted(study.rglob("*")) if file.is_file()]
    counts = Counter(f"{name.parent}/*.json" for name in names if name.parent.name == "jobs")
    return {str(name): "" for name in names if name.parent.name != "jobs"} | dict(counts)


def compare(before: Path, after: Path) -> bool:
    """Print how two runs of one study differ; whether scores and curves are equal."""
    equal = True
    for title, read, decisive in (
        ("scores", scores, (changed, unmatched)),
        ("measurements of curves", curves, (changed,)),
        ("fields of the verdict", verdict_fields, ()),
        ("files", files, ()),
    ):
        one, other = read(before), read(after)
        lines = changed(one, other) + unmatched(one, other)
        print(f"  {title}: {len(one)} before, {len(other)} after, {len(lines)} differences")
        for line in lines[:SHOWN]:
            print(f"    {line}")
        if len(lines) > SHOWN:
            print(f"    and {len(lines) - SHOWN} more")
        equal = equal and not any(find(one, other) for find in decisive)
    return equal


def main() -> int:
    """Compare the folders that the command line names; returns the exit status."""
    arguments_of = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments_of.add_argument("before", type=Path)
    arguments_of.add_argument("after", type=Path)
    arguments = arguments_of.parse_args()
    before, after = studies(arguments.before), studies(arguments.after)
    equal = bool(before)
    for study in sorted(before.keys() | after.keys()):
        name, dataset, seed = study
        print(f"{name} on {dataset}, seed {seed}")
        if study not in before or study not in after:
            print(f"  only {'before' if study in before else 'after'}")
            equal = False
        else:
            equal = compare(before[study], after[study]) and equal
    print("scores and curves are equal" if equal else "scores or curves DIFFER")
    return int(not equal)


if __name__ == "__main__":
    sys.exit(main())
