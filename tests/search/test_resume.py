"""An interrupted study resumes as if it had not been; an extended one keeps its results."""

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from simulated_jobs import simulate
from study_runs import SPACE, Call, Listener, Trained, folder, numbers, settings, stored

from initsearch.search.jobs import job_book
from initsearch.search.study import Study
from initsearch.training import TestJob, run_job

pytestmark = pytest.mark.slow

#: A study whose training is real, and takes a second.
SMALL: dict[str, Any] = {"n_trials": 6, "search": {"seeds": 1}, "race": {"max_seeds": 3}}
#: Two schemes at two rates: TPE soon repeats itself, and the grid has 4 points.
TWO_BY_TWO: dict[str, Any] = {
    "lr": [0.05, 0.1],
    "groups": {"all": {"where": {}, "weight": ["lecun_normal", "orthogonal"]}},
}
#: Endless, but half of it is one plan.
REPETITIVE: dict[str, Any] = {
    "groups": {
        "all": {
            "where": {},
            "weight": {"orthogonal": {}, "variance_scaling": {"factor": {"low": 0.5, "high": 4.0}}},
        }
    }
}


def at(
    kind: str, holds: Callable[..., bool] = lambda *_: True, nth: int = 1
) -> Callable[[Call], bool]:
    """The nth call of a kind whose arguments fulfil a condition."""
    left = itertools.count(nth, -1)

    def reached(call: Call) -> bool:
        name, arguments = call
        return name == kind and holds(*arguments) and next(left) == 1

    return reached


def of_the_race(_: str, measurements: Any) -> bool:
    return any("/seed_1000" in measurement.key for measurement in measurements)


POINTS = {
    "while candidates are asked for": lambda: at("start_candidate", nth=5),
    "at the first rung": lambda: at("measure", nth=2),
    "between two rungs": lambda: at("training", lambda what: what.endswith("to epoch 1")),
    "in the race": lambda: at("measure", of_the_race, nth=2),
    "before the test": lambda: at("phase", lambda name, _: name == "test"),
    "while the verdict is recorded": lambda: at("end_study"),
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> tuple[dict[str, Any], Counter]:
    """The verdict of a small study that ran in one go, and what was trained for it."""
    trained = Trained(run_job)
    verdict = trained.run(settings(tmp_path_factory.mktemp("whole"), **SMALL))
    return numbers(verdict), Counter(trained.pieces)


@pytest.mark.parametrize("point", POINTS)
def test_a_study_resumes_where_it_was_stopped(uninterrupted, tmp_path, point) -> None:
    trained = Trained(run_job)
    asked = settings(tmp_path, **SMALL)
    with pytest.raises(KeyboardInterrupt):
        trained.run(asked, Listener(POINTS[point]()))
    assert Study(asked, Listener(), Listener()).finished is None
    before = len(trained.jobs)
    listener = Listener()
    verdict = trained.run(asked, listener)
    expected, pieces = uninterrupted
    assert numbers(verdict) == expected
    assert before > 0
    assert Counter(trained.pieces) == pieces
    # The tracker hears all of it again, to mend what it had half written.
    assert len(listener.heard("start_candidate")) == 6
    assert len(listener.heard("end_study")) == 1


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_start_before_the_records_are_opened(tmp_path, workers: int) -> None:
    """In this process, jobs are trained when they are submitted: the records are opened first."""
    trained = Trained(simulate)
    asked = settings(tmp_path, workers=workers)
    with pytest.raises(KeyboardInterrupt):
        trained.run(asked, Listener(at("start_study")))
    assert bool(trained.jobs) is (workers > 0)
    listener = Listener()
    verdict = numbers(trained.run(asked, listener))
    assert verdict == numbers(trained.run(settings(tmp_path / "whole", workers=workers)))
    reported = [info.number for (info,) in listener.heard("start_candidate")]
    assert reported == list(range(9))


class Stopper:
    """Ctrl-C at the nth write to Optuna's storage: before it, or after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes, self.stop_at, self.after = 0, 0, False
        write = JournalFileBackend.append_logs

        def append_logs(backend: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
            self.writes += 1
            stop = self.writes == self.stop_at
            if stop and not self.after:
                raise KeyboardInterrupt
            write(backend, logs)
            if stop:
                raise KeyboardInterrupt

        monkeypatch.setattr(JournalFileBackend, "append_logs", append_logs)


@pytest.mark.parametrize(
    ("sampler", "pruner", "space", "n_trials", "apart"),
    [
        ("tpe", "halving", SPACE, 14, 11),
        ("tpe", "median", SPACE, 14, 11),
        ("random", "halving", SPACE, 14, 11),
        ("random", "median", SPACE, 14, 11),
        ("tpe", "halving", REPETITIVE, 40, 41),  # each redraw is a write
    ],
)
def test_any_moment_is_good_to_stop(
    monkeypatch, tmp_path, sampler: str, pruner: str, space: Any, n_trials: int, apart: int
) -> None:
    """Stopped again and again, each time after a few more writes to the storage; training is made up."""
    trained, stopper = Trained(simulate), Stopper(monkeypatch)
    search = {"sampler": sampler, "pruner": pruner, "first_rung": 0.125}
    many = {"n_trials": n_trials, "search": search, "space": space}
    whole = numbers(trained.run(settings(tmp_path / "whole", **many)))
    pieces, writes = Counter(trained.pieces), stopper.writes
    trained.jobs.clear()
    asked = settings(tmp_path / "pieces", **many)
    verdict, stops = None, 0
    while verdict is None:
        stopper.writes, stopper.stop_at, stopper.after = 0, apart + stops % 3, stops % 2 == 0
        try:
            verdict = numbers(trained.run(asked))
        except KeyboardInterrupt:
            stops += 1
    assert stops > writes / (apart + 3)
    assert verdict == whole
    assert Counter(trained.pieces) == pieces


def test_a_decision_is_not_revised(tmp_path) -> None:
    """Optuna's pruner compares with what is complete: in a resumed run that is more than before."""
    trained = Trained(simulate)
    search = {
        "pruner": "median",
        "sampler": "random",
        "cohort_size": 1,
        "seeds": 1,
        "first_rung": 0.125,
    }
    few = {"n_trials": 8, "search": search, "race": {"max_seeds": 2}}
    whole = numbers(trained.run(settings(tmp_path / "whole", **few)))
    asked = settings(tmp_path / "pieces", **few)
    for measurement in itertools.count(1):
        try:
            verdict = numbers(trained.run(asked, Listener(at("measure", nth=measurement))))
            break
        except KeyboardInterrupt:
            continue
    assert measurement > 30
    assert verdict == whole


def test_a_finished_study_has_its_verdict_and_does_no_work(tmp_path) -> None:
    trained = Trained(simulate)
    asked = settings(tmp_path)
    verdict = trained.run(asked)
    trained.jobs.clear()
    kept = Study(asked, Listener(), Listener()).finished
    assert kept is not None
    assert kept.to_json() == verdict.to_json()
    assert not trained.jobs


def test_missing_weights_cost_time_and_not_the_verdict(uninterrupted, tmp_path) -> None:
    trained = Trained(run_job)
    asked = settings(tmp_path, **SMALL)
    for point in ("between two rungs", "before the test"):
        with pytest.raises(KeyboardInterrupt):
            trained.run(asked, Listener(POINTS[point]()))
        shutil.rmtree(folder(asked) / "states")
    verdict = trained.run(asked)
    expected, pieces = uninterrupted
    assert numbers(verdict) == expected
    assert Counter(trained.pieces) == pieces
    ended = zip(trained.jobs, trained.results, strict=True)
    assert any(result.engine == "loop" for job, result in ended if isinstance(job, TestJob))


def test_more_trials_continue_the_study(tmp_path) -> None:
    trained = Trained(simulate)
    few, many = settings(tmp_path, n_trials=6), settings(tmp_path, n_trials=13)
    first = numbers(trained.run(few))
    trials = stored(few).get_trials()
    second = numbers(trained.run(many))
    assert folder(few) == folder(many)
    assert len(trials) == 6
    assert [row["number"] for row in second["evidence"]["search"]] == list(range(13))
    # What was decided stands: in Optuna's storage, and in the verdict's evidence.
    assert stored(many).get_trials()[:6] == trials
    kept = [{**row, "raced": None} for row in second["evidence"]["search"][:6]]
    assert kept == [{**row, "raced": None} for row in first["evidence"]["search"]]
    # And nothing is trained twice: neither in the search nor, for those that race again, in the race.
    assert max(Counter(trained.pieces).values()) == 1
    # The study of 13 trials is itself repeatable.
    again = settings(tmp_path / "again", n_trials=6)
    trained.run(again)
    assert numbers(trained.run(settings(tmp_path / "again", n_trials=13))) == second


def test_fewer_trials_are_the_first_ones(tmp_path) -> None:
    trained = Trained(simulate)
    with pytest.raises(KeyboardInterrupt):
        trained.run(settings(tmp_path, n_trials=13), Listener(at("measure", nth=9)))
    verdict = trained.run(settings(tmp_path, n_trials=4))
    assert [row.number for row in verdict.evidence.search] == list(range(4))
    assert numbers(verdict) == numbers(trained.run(settings(tmp_path / "alone", n_trials=4)))


def test_more_trials_complete_a_grid_that_tpe_has_started(tmp_path) -> None:
    trained = Trained(simulate)
    baselines = {"torch_default": "torch_default"}  # at two rates: 2 trials
    small = {"space": TWO_BY_TWO, "baselines": baselines}
    trained.run(settings(tmp_path, n_trials=5, **small))
    verdict = trained.run(settings(tmp_path, n_trials=9, **small))
    found = {
        (row.scheme, row.name.split("lr=")[1].split(" ")[0]) for row in verdict.evidence.search
    }
    schemes = ("torch_default", "lecun_normal", "orthogonal")
    assert found == set(itertools.product(schemes, ("0.05", "0.1")))
    assert max(Counter(trained.pieces).values()) == 1


def test_more_seeds_keep_the_blocks_that_are_there(tmp_path) -> None:
    trained = Trained(simulate)
    race = {"looks": (2, 3, 4, 6), "margin": 0.0, "alpha": 0.001, "futility": 0.0}
    first = trained.run(settings(tmp_path, race=race | {"max_seeds": 4}))
    second = trained.run(settings(tmp_path, race=race | {"max_seeds": 8}))
    assert first.n_seeds < second.n_seeds
    # A race that continues after it was decided has had two chances to err, and says so.
    assert "alpha" not in first.sentence
    assert second.sentence.endswith(
        "; after an earlier race of this study (total alpha over all races: 0.002)"
    )
    third = trained.run(settings(tmp_path, race=race | {"max_seeds": 9}))
    assert "2 earlier races of this study (total alpha over all races: 0.003)" in third.sentence
    assert max(Counter(trained.pieces).values()) == 1
    scores = {candidate["name"]: candidate["scores"] for candidate in numbers(second)["candidates"]}
    for candidate in numbers(first)["candidates"]:
        now = scores[candidate["name"]]
        shared = candidate["scores"].keys() & now.keys()
        assert len(shared) >= 2
        assert all(candidate["scores"][seed] == now[seed] for seed in shared)


def test_a_race_that_continues_after_a_futile_end_is_the_same_race(tmp_path) -> None:
    """Its looks and levels are as they were, so that it spends no second alpha."""
    trained = Trained(simulate)
    race = {"looks": (2, 3, 4, 6), "margin": 0.0, "alpha": 0.001, "max_seeds": 8}
    first = trained.run(settings(tmp_path, race=race | {"futility": 0.999}))
    assert first.n_seeds == 2
    assert "race.futility" in first.sentence
    second = trained.run(settings(tmp_path, race=race | {"futility": 0.0}))
    assert second.n_seeds > 2
    alone = trained.run(settings(tmp_path / "alone", race=race | {"futility": 0.0}))
    assert second.sentence == alone.sentence
    longer = trained.run(settings(tmp_path, race=race | {"futility": 0.0, "max_seeds": 9}))
    assert longer.sentence.endswith(
        "after an earlier race of this study (total alpha over all races: 0.002)"
    )


def test_a_race_counts_alpha_once_however_often_it_is_decided(tmp_path) -> None:
    """More trials that bring no other entrant, or fewer again, repeat a race that was run before."""
    trained = Trained(simulate)
    races: set[frozenset[str]] = set()
    repeated = 0
    for n_trials in (4, 5, 6, 13, 16, 5):
        verdict = trained.run(settings(tmp_path, n_trials=n_trials))
        race = frozenset(candidate.name for candidate in verdict.candidates)
        repeated += race in races
        races.add(race)
        assert len(verdict.evidence.alphas) == len(races)
        if len(races) == 1:
            assert "alpha" not in verdict.sentence
        else:
            assert f"(total alpha over all races: {0.05 * len(races):g})" in verdict.sentence
    assert repeated > 2
    assert len(races) > 1


def test_alphas_of_a_verdict_of_an_earlier_version_still_count(tmp_path) -> None:
    trained = Trained(simulate)
    first = trained.run(settings(tmp_path))
    for n_trials, total in ((9, None), (14, "0.1")):
        old = replace(first, evidence=replace(first.evidence, races={}))
        old.save(folder(settings(tmp_path)) / "verdict.json")
        sentence = trained.run(settings(tmp_path, n_trials=n_trials)).sentence
        assert ("alpha" in sentence) is (total is not None)
        assert total is None or f"over all races: {total})" in sentence


@pytest.mark.parametrize(
    "change",
    [
        {"space": TWO_BY_TWO},
        {"seed": 1},
        {"metric": "val_loss", "race": {"margin": 0.1}},
        {"max_epochs": 4},
        {"model": {"name": "mlp", "depth": 2, "width": 16, "activation": "relu"}},
        {"baselines": {"zeros": "zeros", "torch_default": "torch_default"}},
        {"search": {"cohort_size": 5}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_question_is_another_study(tmp_path, change) -> None:
    trained = Trained(simulate)
    one, other = settings(tmp_path, n_trials=4), settings(tmp_path, n_trials=4, **change)
    assert folder(one) != folder(other)
    trained.run(one)
    kept = numbers(trained.run(one)), stored(one).get_trials()
    trained.run(other)
    assert (numbers(trained.run(one)), stored(one).get_trials()) == kept


@pytest.mark.parametrize(
    "change",
    [
        {"workers": 2},
        {"n_trials": 5},
        {"race": {"max_seeds": 6}},
        {
            "data": {
                "name": "digits",
                "train_size": 128,
                "val_size": 64,
                "download": True,
                "timeout": 5,
            }
        },
        {"trainer": {"accelerator": "gpu", "devices": 2, "engine": "stacked"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_no_result_leaves_the_study_the_same(tmp_path, change) -> None:
    assert folder(settings(tmp_path, **change)) == folder(settings(tmp_path))


@pytest.mark.parametrize("rates", [[0.05, 0.1], {"low": 0.01, "high": 1.0, "log": True}, None, 0.2])
def test_baselines_come_first_at_every_rate(tmp_path, rates) -> None:
    trained = Trained(simulate)
    space = TWO_BY_TWO | {"lr": rates}
    listener = Listener()
    asked = settings(tmp_path, space=space, n_trials=12, search={"sampler": "tpe"})
    trained.run(asked, listener)
    infos = [info for (info,) in listener.heard("start_candidate")]
    every = {None: [0.1], 0.2: [0.2]}.get(rates) if not isinstance(rates, dict | list) else None
    every = every or (rates if isinstance(rates, list) else [0.01, 0.1, 1.0])
    expected = [
        (scheme, rate) for rate in every for scheme in ("torch_default", "he_normal", "zeros")
    ]
    assert [info.scheme for info in infos[: len(expected)]] == [scheme for scheme, _ in expected]
    assert [info.lr for info in infos[: len(expected)]] == pytest.approx([lr for _, lr in expected])
    assert [info.baseline for info in infos] == [n < len(expected) for n in range(12)]
    assert all(
        trial.user_attrs.get("baseline") for trial in stored(asked).get_trials()[: len(expected)]
    )


def test_tpe_proposes_something_else_as_long_as_there_is_something(monkeypatch, tmp_path) -> None:
    """The best scheme has nothing to tune: of itself TPE proposes it over and over."""
    trained = Trained(simulate)

    def late_twins(output: str) -> int:
        """Among the last trials: the first ones are drawn at random, until ten have ended."""
        asked = settings(
            tmp_path / output, space=REPETITIVE, n_trials=60, search={"sampler": "tpe"}
        )
        rows = trained.run(asked).evidence.search[36:]
        return sum(row.reason.startswith("same as trial") for row in rows)

    assert late_twins("mended") == 0
    monkeypatch.setattr("initsearch.search.trials.MOST_REDRAWS", 0)
    assert late_twins("as it comes") > 0


def test_what_is_proposed_again_is_not_trained_again(tmp_path) -> None:
    trained = Trained(simulate)
    asked = settings(tmp_path, space=TWO_BY_TWO, n_trials=20, search={"sampler": "random"})
    listener = Listener()
    verdict = trained.run(asked, listener)
    infos = [info for (info,) in listener.heard("start_candidate")]
    first: dict[str, int] = {}
    for info in infos:
        first.setdefault(json.dumps([info.plan, info.lr]), info.number)
    twins = [i for i in infos if first[json.dumps([i.plan, i.lr])] != i.number]
    assert len(twins) > 5
    names = {name for name, *_ in trained.pieces}
    assert not names & {twin.name for twin in twins}
    assert max(Counter(trained.pieces).values()) == 1
    rows, trials = verdict.evidence.search, stored(asked).get_trials()
    for twin in twins:
        of = first[json.dumps([twin.plan, twin.lr])]
        assert rows[twin.number].score == pytest.approx(rows[of].score, nan_ok=True)
        assert rows[twin.number].status == rows[of].status
        assert rows[twin.number].reason == f"same as trial {of}"
        assert trials[twin.number].state is trials[of].state is not TrialState.RUNNING
        assert trials[twin.number].values == trials[of].values
        assert not rows[twin.number].raced


def test_no_states_are_left_in_the_end(tmp_path) -> None:
    trained = Trained(simulate)
    asked = settings(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        trained.run(asked, Listener(at("end_study")))
    states: Path = folder(asked) / "states"
    assert any(states.iterdir())
    trained.run(asked)
    assert not states.exists()


def test_new_candidates_resume_from_their_weights_beside_candidates_without_weights(
    tmp_path,
) -> None:
    """A finished study has no weights any more; with more trials, it trains no new candidate twice."""
    trained = Trained(simulate)
    random = {"search": {"sampler": "random", "seeds": 1}}
    trained.run(settings(tmp_path, n_trials=7, **random))
    trained.jobs.clear()
    trained.run(settings(tmp_path, n_trials=19, **random))
    search = [job for job in trained.trainings if job.seed < 1000]
    assert {job.stop_epoch for job in search} >= {0.25, 0.5, 1.0}
    assert all(job.start_epoch > 0 for job in search if job.stop_epoch > 0.25)


def test_what_failed_stays_failed(tmp_path) -> None:
    def breaking(job: Any) -> Any:
        if any(candidate.name.startswith("he_normal") for candidate in job.candidates):
            raise MemoryError("no room")
        return simulate(job)

    trained = Trained(breaking)
    asked = settings(tmp_path, n_trials=6)
    with pytest.raises(KeyboardInterrupt):
        trained.run(asked, Listener(at("phase", lambda name, _: name == "race")))
    trained = Trained(simulate)
    rows = {row.name: row for row in trained.run(asked).evidence.search}
    assert rows["he_normal"].status == "failed"
    assert rows["he_normal"].reason == "MemoryError: no room"
    assert "he_normal" not in {name for name, *_ in trained.pieces}
    (reported,) = (t for t in stored(asked).trials if t.user_attrs.get("baseline") == "he_normal")
    assert reported.state is TrialState.FAIL


def test_a_stacked_cohort_of_which_one_result_was_kept_gives_the_same_verdict(
    monkeypatch, tmp_path
) -> None:
    """Odd sizes and a wild rate: a smaller stack would round differently, and the scores would differ."""
    wild: dict[str, Any] = {
        "trainer": {"engine": "stacked"},
        "model": {"name": "mlp", "depth": 2, "width": 19, "activation": "tanh"},
        "optimizer": {"name": "sgd", "lr": 0.6, "momentum": 0.9, "batch_size": 17},
        "space": {"plans": {"a": "lecun_normal", "b": "orthogonal"}},
        "n_trials": 4,
        "search": {"seeds": 1},
        "race": {"margin": 0.0, "max_seeds": 3, "looks": (3,)},
        "metric": "val_loss",
    }
    trained = Trained(run_job)
    whole = numbers(trained.run(settings(tmp_path / "whole", **wild)))

    write, written = job_book.write_whole, itertools.count(1)

    def cut_off(path: Path, text: str) -> Any:
        """The first result of a cohort of the race is kept, and no more."""
        if '"seed": 1001' in text and next(written) == 2:
            raise KeyboardInterrupt
        return write(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(job_book, "write_whole", cut_off)
        with pytest.raises(KeyboardInterrupt):
            trained.run(settings(tmp_path / "cut", **wild))
    trained = Trained(run_job)
    assert numbers(trained.run(settings(tmp_path / "cut", **wild))) == whole
    sizes = {len(job.candidates) for job in trained.trainings if job.seed == 1001}
    assert sizes == {len(whole["candidates"])}
