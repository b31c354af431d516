"""Feed random plans, spaces and verdicts to initsearch: each must be read, or refused in one line.

Plans and spaces come as files and as mappings, verdicts as files. Valid documents are mutated as trees (values
of the wrong type, unknown and missing keys, deep nesting) and as text (tags that do not fit, bytes that are not
UTF-8, cut files, odd paths). Each must give what can be used, or an `InitSearchError` of one readable line, and
no file may reach Python code. All else is counted and printed, and the exit status is then 1.

    python scripts/fuzz_inputs.py --count 10000
"""

import argparse
import datetime
import json
import random
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna
import torch
import yaml
from torch import nn

from initsearch import InitPlan, InitSearchError, Space
from initsearch.execution import SerialExecutor
from initsearch.finder.settings import make_settings
from initsearch.search import Study, Verdict
from initsearch.study_run import Quiet
from initsearch.tasks.score import ScoreTask
from initsearch.tracking import TrackerGroup

#: The longest message that still counts as one readable line.
LONGEST = 1000

PLANS: tuple[Any, ...] = (
    "he_normal",
    "fixup",
    {"name": "variance_scaling", "factor": 2.0, "mode": "fan_in", "dialect": "keras"},
    {"name": "activation_scaling", "activation": "gelu", "gain": "chi", "param": None},
    {"name": "edge_of_chaos", "activation": "tanh", "bias_variance": 0.05},
    {"name": "truncated_normal", "std": 0.02, "low": -2.0, "high": 2.0, "bounds": "absolute"},
    {
        "rules": [
            {"where": {"activation": ["relu", "gelu"], "kind": "linear"}, "weight": "he_uniform"},
            {"where": {"role": "head", "name": "*.2"}, "weight": "zeros", "bias": "ones"},
            {"where": {"branch": "last"}, "weight": {"name": "orthogonal", "gain": 1.5}},
            {"weight": {"name": "normal", "std": 0.1}, "bias": {"name": "constant", "value": 0.1}},
        ],
        "default": {"weight": "keep", "bias": "keep"},
    },
)
SPACES: tuple[Any, ...] = (
    {
        "groups": {
            "hidden": {
                "where": {"activation": "relu"},
                "weight": {
                    "variance_scaling": {
                        "factor": {"low": 0.5, "high": 4.0, "log": True},
                        "mode": ["fan_in", "fan_out"],
                    },
                    "orthogonal": {"gain": [1.0, 1.41]},
                    "he_normal": None,
                },
                "bias": ["zeros", "ones"],
            },
            "head": {"where": {"role": "head"}, "weight": ["glorot_uniform", "zeros"]},
        },
        "default": {"weight": "he_normal"},
        "lr": {"low": 1e-3, "high": 1.0, "log": True},
    },
    {"groups": {"all": {"weight": {"sparse": {"sparsity": [0.5, 0.9]}}}}, "lr": [0.1, 0.01]},
    {"plans": {"he": "he_normal", "wide": {"name": "normal", "std": 1.0}, "deep": "fixup"}},
    {"plans": {"rules": {"rules": [{"weight": "zeros"}], "default": {"bias": "ones"}}}, "lr": 0.1},
)
#: Values that do not belong where they are put. Paths lead to functions that would be seen if they were called.
HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 3, 10**400, -(10**400), 1 << 20000, 0.0, 1e308, 5e-324, -0.5),
    *(
        float("nan"),
        float("inf"),
        "",
        " ",
        "keep",
        "he_norml",
        "x" * 5000,
        "a\nb",
        "\x1b[31m",
        "\0",
    ),
    *(
        "os.system",
        "builtins.exit",
        "sys.exit",
        "initsearch_trap.call",
        "no.such.module",
        ".",
        "a..b",
        "plan.yaml",
        "a\0b.yaml",
    ),
    *(
        "torch.nn.init.xavier_uniform_",
        "torch.nn.GELU",
        "collections.OrderedDict",
        "name",
        "é",
        "\ud800",
    ),
    *(
        b"bytes",
        datetime.date(2026, 1, 1),
        {"a"},
        (),
        [],
        {},
        [[]],
        [{}],
        {"name": None},
        {None: None},
    ),
    *(
        {1: 2},
        {"name": "normal", 1: 2},
        {"low": 0, "high": 10**400},
        {"low": 1},
        [1, "a", None, {}],
    ),
)
TAGS = [
    "!!timestamp",
    "!!int",
    "!!bool",
    "!!float",
    "!!binary",
    "!!set",
    "!!omap",
    "!!null",
    "!!str",
    "!!python/object:os.system",
    "!x",
]


class Trap(ModuleType):
    """A module that notes whether anything in it was looked up."""

    def __init__(self) -> None:
        super().__init__("initsearch_trap")
        self.touched = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        vars(self)["touched"] = True
        return nn.init.zeros_


def mutated(value: Any, dice: random.Random, chance: float) -> Any:
    """A copy of a tree, with each of its nodes changed with a chance."""
    if dice.random() < chance:
        return broken(value, dice)
    if isinstance(value, dict):
        return {
            broken_key(key, dice) if dice.random() < chance / 3 else key: mutated(
                each, dice, chance
            )
            for key, each in value.items()
            if dice.random() > chance / 4
        }
    if isinstance(value, list):
        return [mutated(each, dice, chance) for each in value]
    return value


def broken(value: Any, dice: random.Random) -> Any:
    """Something else in the place of a value."""
    way = dice.randrange(8)
    if way == 0:
        return [value, *dice.sample(HOSTILE, 2)]
    if way == 1:
        return {dice.choice(("name", "low", "where", "rules", "weight")): value}
    if way == 2:
        return nested(value, dice.choice((2, 30, 400, 3000)), dice)
    if way == 3 and isinstance(value, dict):
        return {**value, broken_key("extra", dice): dice.choice(HOSTILE)}
    if way == 4 and isinstance(value, str):
        return value[: dice.randrange(len(value) + 1)] + dice.choice(("", "x", ".", " ", "\0"))
    return dice.choice(HOSTILE)


def broken_key(key: Any, dice: random.Random) -> Any:
    """Another key: misspelt, or no text."""
    return dice.choice(
        (f"{key}s", str(key)[:-1], None, True, 3, 1.5, (1, 2), "", "\0", "name", b"x")
    )


def nested(value: Any, depth: int, dice: random.Random) -> Any:
    """A value deep inside lists or mappings."""
    as_list = dice.random() < 0.5
    for _ in range(depth):
        value = [value] if as_list else {"a": value}
    return value


def file_content(kind: str, document: Any, dice: random.Random) -> bytes:
    """A document as the bytes of a file of a kind, some of them changed."""
    try:
        text = json.dumps(document) if kind == "verdict file" else yaml.safe_dump(document)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError):  # neither can write all
        text = "rules: " + dice.choice(("[" * 500, "{a: " * 500, "- " * 500, "&a [*a]", "*b"))
    words = text.split(" ")
    for _ in range(dice.choice((0, 0, 0, 1, 2))):
        place = dice.randrange(len(words))
        words[place] = (
            f"{dice.choice(TAGS)} {dice.choice((words[place], 'x', '', '2026-13-45', '_'))}"
        )
    content = bytearray(" ".join(words).encode("utf-8", "surrogatepass"))
    for _ in range(dice.choice((0, 0, 0, 0, 1, 3))):
        place = dice.randrange(len(content) + 1)
        content[place:place] = dice.choice(
            (b"\xff", b"\0", b"\t", b"\xed\xa0\x80", b": ", b"\n---\n", b"<<: 3\n")
        )
    if dice.random() < 0.05:
        del content[dice.randrange(len(content) + 1) :]
    return bytes(content)


def written(kind: str, document: Any, dice: random.Random, folder: Path) -> Path:
    """The path of a file with a document; sometimes of none."""
    path = folder / "input.yaml"
    path.write_bytes(file_content(kind, document, dice))
    odd = (folder / "a\0b.yaml", folder / ("x" * 300), folder, folder / "none.yaml")
    return dice.choice(odd) if dice.random() < 0.02 else path


def use_plan(plan: InitPlan) -> None:
    """What people do with a plan; code that it names is not called."""
    assert InitPlan.from_spec(plan.spec()) == plan
    assert yaml.safe_load(yaml.safe_dump(plan.spec())) == plan.spec()
    assert isinstance(plan.needs, frozenset)
    if not calls_code(plan.spec()):
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        plan.apply(model, seed=0, batch=torch.ones(2, 3))


def calls_code(spec: Any) -> bool:
    """Whether a specification has an initializer or an activation by its dotted path."""
    if isinstance(spec, dict):
        return any(calls_code(each) for key, each in spec.items() if key != "where")
    if isinstance(spec, list):
        return any(map(calls_code, spec))
    return isinstance(spec, str) and "." in spec


def use_space(space: Space) -> None:
    """What a search does with a space."""
    assert space.size >= 1
    assert len(space.key()) == 8
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    suggestion = space.suggest(study.ask())
    assert isinstance(suggestion.label, str)
    assert InitPlan.from_spec(suggestion.plan.spec()) == suggestion.plan


def use_verdict(verdict: Verdict) -> None:
    """What a study does with its last verdict."""
    json.dumps(verdict.to_json(), allow_nan=False)
    assert isinstance(verdict.sentence, str)


@cache
def verdict() -> dict[str, Any]:
    """The verdict of a study of made-up scores, as it is written."""
    with tempfile.TemporaryDirectory() as folder:
        settings = make_settings(
            ScoreTask(lambda plan, seed: random.Random(f"{plan} {seed}").random(), None),
            name="fuzz",
            architecture="none",
            space={"plans": {name: name for name in ("he_normal", "orthogonal", "zeros")}},
            max_epochs=None,
            metric="score",
            mode=None,
            baselines=None,
            n_trials=4,
            seed=0,
            workers=1,
            job_timeout=None,
            output_dir=folder,
            search=None,
            race={"max_seeds": 4},
        )
        study = Study(settings, TrackerGroup(list), Quiet())
        study.run(SerialExecutor())
        found: dict[str, Any] = json.loads((study.folder / "verdict.json").read_text())
        return found


#: Valid documents and what is done with them; without documents, those of `verdict`, which takes a moment.
KINDS: dict[str, tuple[tuple[Any, ...], Callable[[Any], None]]] = {
    "plan": (PLANS, lambda spec: use_plan(InitPlan.from_spec(spec))),
    "plan file": (PLANS, lambda path: use_plan(InitPlan.load(path))),
    "space": (SPACES, lambda spec: use_space(Space.from_spec(spec))),
    "space file": (SPACES, lambda path: use_space(Space.from_spec(path))),
    "verdict file": ((), lambda path: use_verdict(Verdict.load(path))),
}


def inputs(kind: str, count: int, seed: int, folder: Path) -> Iterator[tuple[int, Any]]:
    """Numbered random inputs of a kind: each is a function of seed and number alone."""
    documents = KINDS[kind][0] or (verdict(),)
    for number in range(count):
        dice = random.Random(f"{kind} {seed} {number}")
        chance = dice.choice((0.0, 0.05, 0.15, 0.3))
        if not KINDS[kind][0]:  # a verdict has hundreds of nodes
            chance /= 30
        document = mutated(dice.choice(documents), dice, chance)
        yield number, written(kind, document, dice, folder) if kind.endswith("file") else document


def fuzz(kind: str, count: int, seed: int = 0) -> tuple[Counter[str], list[str]]:
    """How many inputs were read and refused, and what came of those for which neither is so.

    Args:
        kind: One of `KINDS`.
        count: How many inputs.
        seed: Other seeds give other inputs.

    Returns:
        Counts of `read` and `refused`, and a line for each failure.
    """
    counts: Counter[str] = Counter()
    failures: list[str] = []
    use = KINDS[kind][1]
    trap = sys.modules["initsearch_trap"] = Trap()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, given in inputs(kind, count, seed, Path(folder)):
            trap.touched = False
            try:
                use(given)
                counts["read"] += 1
            except InitSearchError as error:
                counts["refused"] += 1
                message = str(error)
                if "\n" in message or len(message) > LONGEST:
                    failures.append(
                        f"{kind} {number}: a message of {len(message)} characters: {message!r:.200}"
                    )
            except (Exception, SystemExit) as error:  # noqa: BLE001 - this is what is looked for
                failures.append(f"{kind} {number}: {type(error).__name__}: {str(error)!r:.200}")
            if trap.touched and kind.endswith("file"):
                failures.append(f"{kind} {number}: the file reached Python code")
    return counts, failures


def main() -> None:
    """Run all kinds and print the totals."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="inputs of each kind")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other inputs")
    parser.add_argument("--kind", choices=tuple(KINDS), action="append", help="default: all")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    failed = False
    for kind in arguments.kind or KINDS:
        counts, failures = fuzz(kind, arguments.count, arguments.seed)
        print(
            f"{kind}: {counts['read']} read, {counts['refused']} refused, {len(failures)} failures"
        )
        for line in failures[:20]:
            print(f"  {line}")
        failed = failed or bool(failures)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
