"""A whole study on digits, with real training: what it trains, what it records, what it says."""

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import odd_initializers
import pytest
from optuna.trial import TrialState
from scipy.integrate import trapezoid
from simulated_jobs import simulate
from sklearn.datasets import load_digits
from study_runs import Listener, Trained, folder, numbers, run, settings, stored

from initsearch.errors import ConfigError, InitSearchError
from initsearch.execution import make_executor
from initsearch.files import write_whole
from initsearch.plan import InitPlan
from initsearch.search.jobs import job_maker
from initsearch.search.settings import (
    FIRST_RACE_BLOCK,
    SEEDS_PER_STUDY,
    RaceSettings,
    SearchSettings,
    StudySettings,
)
from initsearch.search.study import Study
from initsearch.search.verdict import Verdict
from initsearch.tasks.data import DataSettings, load_data
from initsearch.training import EngineChoice, TestJob, TrainJob, run_job

pytestmark = pytest.mark.slow

#: Three sound plans, one that raises an error and one that bursts; all of them are tried.
ODD_SPACE = {
    "plans": {
        "good": "lecun_normal",
        "broken": "test_broken",
        "huge": {"name": "normal", "std": 1e20},
        "fine": "orthogonal",
    }
}


class Finished:
    """A finished study with all its calls and jobs."""

    def __init__(
        self, asked: StudySettings, listener: Listener, trained: Trained, end: Verdict
    ) -> None:
        self.asked, self.listener, self.trained, self.verdict = asked, listener, trained, end
        self.search = {row.name: row for row in end.evidence.search}


def finish(asked: StudySettings) -> Finished:
    listener, trained = Listener(), Trained(run_job)
    return Finished(asked, listener, trained, trained.run(asked, listener))


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Finished:
    """A study with one worker and nothing odd."""
    return finish(settings(tmp_path_factory.mktemp("plain")))


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> Finished:
    """A study with a candidate that fails and one that diverges."""
    return finish(settings(tmp_path_factory.mktemp("odd"), space=ODD_SPACE, n_trials=7))


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Iterator[Executor]:
    """Two worker processes, and an initializer that kills one of them once."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        mark = tmp_path_factory.mktemp("mark") / "killed"
        monkeypatch.setenv(odd_initializers.KILL_ONCE, str(mark))
        with make_executor("local", workers=2) as executor:
            yield executor


def test_two_workers_give_the_same_verdict(plain, pool, tmp_path) -> None:
    verdict = run(settings(tmp_path, workers=2), executor=pool)
    assert numbers(verdict) == numbers(plain.verdict)


@pytest.mark.parametrize("engine_of", ["stacked", "auto"])
def test_two_workers_give_the_same_verdict_stacked(pool, tmp_path, engine_of: str) -> None:
    """Where a probe decides, with the choice that one of them made: two probes may time differently."""
    chosen = EngineChoice("stacked", 3, False, "none", "it was faster")
    few = {"trainer": {"engine": engine_of}, "n_trials": 6}
    verdicts = []
    for workers, executor in ((1, None), (2, pool)):
        asked = settings(tmp_path / str(workers), workers=workers, **few)
        if engine_of == "auto":
            write_whole(folder(asked) / "engine.json", json.dumps(chosen.to_json()))
        verdicts.append(numbers(run(asked, executor=executor)))
    assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize("engine_of", ["loop", "stacked"])
def test_two_names_for_one_scheme_are_a_tie(tmp_path, engine_of: str) -> None:
    """Matrices without more outputs than inputs are not scaled: the scores show it, the plan does not."""
    scaled = {"name": "orthogonal", "scaled": True}
    few = {"baselines": {"orthogonal": "orthogonal", "scaled": scaled}, "n_trials": 2}
    asked = settings(
        tmp_path,
        space={"plans": {"unused": "zeros"}},
        trainer={"engine": engine_of},
        race={"margin": 0.0},
        **few,
    )
    verdict = run(asked)
    assert verdict.status == "tie"
    one, other = verdict.candidates
    assert {one.name, other.name} == {"orthogonal", "scaled"}
    assert one.scores == other.scores


def test_a_killed_worker_changes_nothing(pool, tmp_path) -> None:
    space = {"plans": {"a": "odd_initializers.kill_once", "b": "lecun_normal"}}
    small = {"space": space, "n_trials": 3, "baselines": {"torch_default": "torch_default"}}
    mark = Path(os.environ[odd_initializers.KILL_ONCE])
    assert not mark.exists()
    killed = run(settings(tmp_path / "killed_once", **small), executor=pool)
    assert mark.exists()
    assert {row.status for row in killed.evidence.search} <= {"complete", "pruned"}
    assert numbers(killed) == numbers(run(settings(tmp_path / "unharmed", **small)))


def test_search_and_race_share_no_seed(plain) -> None:
    search = {
        job.seed for job in plain.trained.jobs if job.seed % SEEDS_PER_STUDY < FIRST_RACE_BLOCK
    }
    race = {job.seed for job in plain.trained.jobs} - search
    # The phases are distinguished by when they ran, not by the seed.
    first_of_race = min(i for i, job in enumerate(plain.trained.jobs) if job.seed in race)
    assert {job.seed for job in plain.trained.jobs[:first_of_race]} == search
    assert {job.seed for job in plain.trained.jobs[first_of_race:]} == race
    assert len(search) == plain.asked.search.seeds
    assert len(race) == plain.verdict.n_seeds
    assert {seed for c in plain.verdict.candidates for seed in c.scores} == race


def test_the_seeds_of_search_and_race_and_of_other_studies_are_apart(tmp_path) -> None:
    most = {"search": {"seeds": 1000}, "race": {"max_seeds": 9000}}
    this, next_one = (settings(tmp_path, seed=seed, **most) for seed in (7, 8))
    search = set(this.search_seeds)
    race = {this.race_seed(index) for index in range(9000)}
    others = {*next_one.search_seeds, *map(next_one.race_seed, range(9000))}
    assert (len(search), len(race)) == (1000, 9000)
    assert not search & race
    assert not (search | race) & others


@pytest.mark.parametrize(
    ("kind", "group", "argument", "most"),
    [(SearchSettings, "search", "seeds", 1000), (RaceSettings, "race", "max_seeds", 9000)],
)
def test_there_are_no_more_seeds_than_a_study_owns(kind, group, argument, most) -> None:
    with pytest.raises(ConfigError, match=rf"{group}\.{argument}.*{most}"):
        kind.parse(group, {argument: most + 1})


def test_studies_of_two_seeds_share_no_block(plain, tmp_path) -> None:
    other = finish(settings(tmp_path, seed=1, n_trials=3))
    assert not {job.seed for job in other.trained.jobs} & {job.seed for job in plain.trained.jobs}


def test_the_test_set_is_touched_once_and_after_the_decision(plain) -> None:
    jobs = plain.trained.jobs
    first = next(i for i, job in enumerate(jobs) if isinstance(job, TestJob))
    assert all(isinstance(job, TestJob) for job in jobs[first:])
    leader, recommended = plain.verdict.candidates[0].name, plain.verdict.recommended
    tested = [(c.name, job.seed) for job in jobs[first:] for c in job.candidates]
    assert max(Counter(tested).values()) == 1
    assert {name for name, _ in tested} == {leader, plain.verdict.baseline, recommended}
    assert {score.name for score in plain.verdict.test.values()} == {name for name, _ in tested}
    # Nothing is trained for it: the race's weights are scored.
    assert {result.engine for result in plain.trained.results[first:]} == {"none"}
    for part in ("baseline", "leader" if plain.verdict.winner is None else "winner"):
        score = plain.verdict.test[part]
        assert score.test_accuracy == pytest.approx(
            sum(score.by_seed.values()) / len(score.by_seed)
        )


def test_the_test_score_is_that_of_the_raced_weights(plain) -> None:
    """Trained again from scratch, in one go, a candidate gets the same score on the test set."""
    job = next(job for job in plain.trained.jobs if isinstance(job, TestJob))
    again = run_job(replace(job, states={}))
    assert again.engine == "loop"
    (name,) = (candidate.name for candidate in job.candidates)
    scores = {
        seed: score
        for part in plain.verdict.test.values()
        if part.name == name
        for seed, score in part.by_seed.items()
    }
    assert scores[job.seed] == again.curves[0].test["test_accuracy"]


def test_optuna_holds_the_end_of_each_trial(odd) -> None:
    states = {
        "complete": TrialState.COMPLETE,
        "pruned": TrialState.PRUNED,
        "diverged": TrialState.PRUNED,
        "failed": TrialState.FAIL,
    }
    trials = stored(odd.asked).get_trials()
    assert [trial.number for trial in trials] == [row.number for row in odd.search.values()]
    for trial, row in zip(trials, odd.search.values(), strict=True):
        assert trial.state is states[row.status]
        assert trial.user_attrs["status"] == row.status
        if row.status == "complete":
            assert trial.value == row.score
        else:
            assert trial.user_attrs["reason"] == row.reason
        reported = list(trial.intermediate_values.values())
        assert reported == [score for score in row.scores.values() if not math.isnan(score)]


def test_a_candidate_that_raises_fails_alone(odd) -> None:
    assert odd.search["broken"].status == "failed"
    assert re.fullmatch(
        r"RuntimeError: no weights of shape \(\d+, \d+\) today", odd.search["broken"].reason
    )
    (report,) = (folder(odd.asked) / "jobs").glob("failed-*.txt")
    text = report.read_text()
    assert text.startswith("broken\n")
    assert "Traceback" in text
    assert "odd_initializers.py" in text
    assert {row.status for name, row in odd.search.items() if name != "broken"} >= {"complete"}
    assert ("broken", "failed", odd.search["broken"].reason) in odd.listener.heard("end_candidate")


def test_a_candidate_that_bursts_has_diverged(odd) -> None:
    assert odd.search["huge"].status == "diverged"
    assert odd.search["huge"].reason == "loss or weights not finite at step 0"
    assert math.isnan(odd.search["huge"].score)
    assert "huge" not in {candidate.name for candidate in odd.verdict.candidates}


def test_every_early_end_has_a_reason(plain, odd) -> None:
    rows = [*plain.search.values(), *odd.search.values()]
    assert {"complete", "pruned", "diverged", "failed"} == {row.status for row in rows}
    assert all(bool(row.reason) == (row.status != "complete") for row in rows)
    for row in rows:
        if row.status == "pruned" and row.name == "zeros":
            assert row.epoch == 0
            assert row.reason.startswith("cannot learn: no_gradient")
        elif row.status == "pruned":
            assert 0 < row.epoch < plain.asked.max_epochs
            assert f"epoch {row.epoch:g}" in row.reason


def test_every_candidate_is_reported_to_the_tracker_from_start_to_end(plain) -> None:
    names = list(plain.search)
    reported = [info.name for (info,) in plain.listener.heard("start_candidate")]
    assert reported == names
    assert {call[0] for call in plain.listener.heard("end_candidate")} == set(names)
    kinds = [name for name, _ in plain.listener.calls]
    assert kinds.index("start_study") < kinds.index("start_candidate")
    assert kinds.index("end_study") > max(
        i for i, kind in enumerate(kinds) if kind == "end_candidate"
    )
    ((verdict,),) = plain.listener.heard("end_study")
    assert verdict is plain.verdict
    ((study,),) = plain.listener.heard("start_study")
    assert study.steps_per_epoch == 128 / 16


def test_the_progress_reaches_its_total(plain) -> None:
    phase, totals, done = "", {}, Counter()
    for kind, arguments in plain.listener.calls:
        if kind == "phase":
            phase, totals[arguments[0]] = arguments
        elif kind in ("advance", "skip"):
            done[phase] += arguments[0]
    assert list(totals) == ["search", "race", "test"]
    assert dict(done) == pytest.approx(totals)
    ((planned,),) = plain.listener.heard("plan")
    assert list(planned) == list(totals)
    assert all(planned[phase] >= total for phase, total in totals.items())


def test_dropped_candidates_end_when_they_are_dropped(plain) -> None:
    kinds = [kind for kind, _ in plain.listener.calls]
    race = next(
        i
        for i, call in enumerate(plain.listener.calls)
        if call[:1] == ("phase",) and call[1][0] == "race"
    )
    early = {
        arguments[0]: arguments[1]
        for kind, arguments in plain.listener.calls[:race]
        if kind == "end_candidate"
    }
    dropped = {name: row.status for name, row in plain.search.items() if row.status != "complete"}
    assert early == dropped
    assert kinds.count("end_candidate") > len(early)


def test_kept_results_are_skipped_not_counted_as_trained(tmp_path) -> None:
    trained = Trained(simulate)
    asked, first, second = settings(tmp_path, n_trials=5), Listener(), Listener()
    trained.run(asked, first)
    trained.jobs.clear()
    trained.run(asked, second)
    assert trained.jobs == []
    amounts = {
        kind: [sum(amount for (amount,) in listener.heard(kind)) for listener in (first, second)]
        for kind in ("advance", "skip")
    }
    assert amounts["advance"][0] > amounts["advance"][1] == 0
    assert sum(amounts["skip"]) - 2 * amounts["skip"][0] == pytest.approx(amounts["advance"][0])


def test_the_recommended_plan_is_kept_as_a_plan_file(plain) -> None:
    file, verdict = folder(plain.asked) / "winner.yaml", plain.verdict
    plans = {standing.name: standing.plan for standing in verdict.candidates}
    assert InitPlan.load(file).spec() == plans[verdict.recommended]
    first, second, *_ = file.read_text().splitlines()
    assert first.startswith(f"# plan to take: {verdict.recommended}")
    assert second == f"# verdict ({verdict.status}): {verdict.sentence}"


def test_the_verdict_answers_for_the_baseline_and_what_to_take(plain) -> None:
    verdict, decision = plain.verdict, plain.verdict.evidence.looks[-1]
    assert decision.baseline == verdict.baseline
    answer = verdict.against_baseline
    assert (answer.status, answer.beaten_by) == (
        decision.baseline_status,
        decision.baseline_beaten_by,
    )
    assert {gap.name for gap in answer.gaps} == {
        c.name for c in verdict.candidates if c.name != verdict.baseline
    }
    assert (verdict.recommended, verdict.regret) == (decision.recommended, decision.regret)
    assert f"; take {verdict.recommended}" in verdict.sentence
    dropped = len(plain.search) - len(verdict.candidates)
    assert (
        f"{dropped} of {len(plain.search)} candidates were dropped in the search"
        in verdict.sentence
    )


def test_plans_that_were_never_tried_are_named(tmp_path) -> None:
    space = {"plans": {"a": "lecun_normal", "b": "orthogonal", "c": "he_uniform", "d": "ones"}}
    baselines = {"torch_default": "torch_default"}
    asked = settings(tmp_path, space=space, baselines=baselines, n_trials=3)
    verdict = Trained(simulate).run(asked)
    tried = {row.scheme for row in verdict.evidence.search}
    left = [name for name in space["plans"] if name not in tried]
    assert len(left) == 2
    assert f"2 of 4 named in the space were never tried ({' and '.join(left)})" in verdict.sentence


def test_the_boundary_is_a_setting_of_the_race(tmp_path) -> None:
    many = {"max_seeds": 4, "looks": (2,), "futility": 0.0, "margin": 0.0, "alpha": 0.001}
    looks = {}
    for boundary in ("obrien_fleming", "linear"):
        asked = settings(tmp_path / boundary, race=many | {"boundary": boundary})
        looks[boundary] = [look.look for look in Trained(simulate).run(asked).evidence.looks]
    assert looks == {"obrien_fleming": [2, 4], "linear": [2, 3, 4]}


def test_an_unknown_boundary_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"race\.boundary.*obrien_fleming"):
        RaceSettings.parse("race", {"boundary": "pocock"})


def test_the_default_boundary_is_the_race_of_earlier_versions(tmp_path) -> None:
    """They had no such setting: a race that they decided counts alpha once."""
    plain_race, linear = (
        settings(tmp_path, race={"boundary": boundary}).race_request()
        for boundary in ("obrien_fleming", "linear")
    )
    asked = settings(tmp_path)
    fields = [key for key in RaceSettings.model_fields if key != "boundary"]
    texts = {key: repr(getattr(asked.race, key)) for key in fields} | {"futility": "0.0"}
    earlier = f"RaceSettings({', '.join(f'{key}={text}' for key, text in texts.items())})"
    assert plain_race == asked._request(None, earlier) != linear


def test_the_verdict_says_how_many_images_there_were(tmp_path, plain) -> None:
    digits = len(load_digits().target)
    test = digits - len(load_data(DataSettings(name="digits")).train_y)
    asked = {"train": 128, "validation": 64, "test": test}
    assert asdict(plain.verdict.evidence.images) == asked

    trained = Trained(simulate)
    most = {"data": {"name": "digits", "train_size": 6000, "val_size": 4000}}
    found = asdict(trained.run(settings(tmp_path, n_trials=3, **most)).evidence.images)
    assert found["test"] == test
    assert sum(found.values()) == digits
    assert found["train"] > found["validation"]


def test_only_the_records_are_left(plain) -> None:
    left = {path.name for path in folder(plain.asked).iterdir()}
    assert left == {"settings.json", "elapsed.json", "jobs", "winner.yaml", "verdict.json"}
    above = {
        path.name for path in plain.asked.output_dir.iterdir() if not path.name.startswith(".")
    }
    assert above == {"optuna.journal", folder(plain.asked).name}


def test_a_second_process_is_refused(tmp_path) -> None:
    asked = settings(tmp_path, n_trials=3)
    refusals: list[str] = []

    class Intruder(Listener):
        """Starts the same study once more while it runs."""

        def start_study(self, study) -> None:
            with pytest.raises(ConfigError) as refused:
                run(asked)
            refusals.append(str(refused.value))

    run(asked, Intruder())
    (message,) = refusals
    assert "\n" not in message
    assert re.search(
        r"being run by another process: wait for it, or give another output_dir", message
    )


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        ("val_loss", min),
        ("learning_curve_area", max),
        ("val_accuracy", max),
        ("steps_to_target", min),
    ],
)
def test_every_metric_leads_to_a_verdict(tmp_path, metric: str, better) -> None:
    small = {"n_trials": 5, "race": {"margin": 0.01, "max_seeds": 2}, "search": {"seeds": 1}}
    found = finish(settings(tmp_path, metric=metric, **small))
    verdict = found.verdict
    assert verdict.metric == metric
    assert verdict.higher_is_better is (better is max)
    means = [candidate.mean for candidate in verdict.candidates]
    assert means[0] == better(means)
    complete = [row for row in found.search.values() if row.status == "complete"]
    assert better(row.score for row in complete) in {r.score for r in complete if r.raced}
    direction = "MAXIMIZE" if better is max else "MINIMIZE"
    study = stored(found.asked)
    assert study.direction.name == direction
    assert study.metric_names == [metric]


def test_the_area_under_the_curve_is_more_than_its_end(tmp_path) -> None:
    """Without a pruner candidates are not compared on the way, but they are measured there."""
    small = {"n_trials": 2, "race": {"max_seeds": 2}, "search": {"seeds": 1, "pruner": "none"}}
    area = {"metric": "learning_curve_area", "evaluations_per_epoch": 4}
    found = finish(settings(tmp_path, **area, **small))
    assert len(found.search) == 2
    for name, row in found.search.items():
        points = [
            (m.step, m.value)
            for candidate, measured in found.listener.heard("measure")
            for m in measured
            if candidate == name and m.key == "val_accuracy/seed_0"
        ]
        assert [step for step, _ in points] == [2, 4, 6, 8, 10, 12, 14, 16]
        assert row.score == pytest.approx(trapezoid([value for _, value in points], dx=1 / 7))


@pytest.mark.parametrize("sampler", ["grid", "tpe", "random", "auto"])
@pytest.mark.parametrize("pruner", ["median", "none", "halving"])
def test_samplers_and_pruners(tmp_path, sampler: str, pruner: str) -> None:
    """Their decisions, over many candidates: the training is made up (see test_resume)."""
    trained = Trained(simulate)
    space = {
        "lr": [0.05, 0.1],
        "groups": {
            "relu": {
                "where": {"activation": "relu"},
                "weight": {
                    "lecun_normal": None,
                    "orthogonal": {"gain": [1.0, 1.5, 2.0]},
                    "ones": None,
                },
            }
        },
    }
    # One cohort after the other: the median needs some that are complete.
    search = {"sampler": sampler, "pruner": pruner, "open_cohorts": 1}
    asked = settings(tmp_path, space=space, n_trials=24, search=search)
    verdict = trained.run(asked)
    rows = verdict.evidence.search
    grid = sampler in ("grid", "auto")  # 5 schemes at 2 rates, and 3 baselines at 2 rates, are 16
    assert len(rows) == len(stored(asked).get_trials()) == (16 if grid else 24)
    assert len({row.name.split(" #")[0] for row in rows}) <= 16
    if grid:
        assert len({row.name for row in rows if row.number >= 6}) == 10
    pruned = {row.number for row in rows if row.status == "pruned"}
    assert bool(pruned) == (pruner != "none")
    assert not any(row.scheme == "torch_default" for row in rows if row.number in pruned)
    if pruner == "median":
        # Optuna's rule: no candidate is pruned before four trials are complete.
        assert min(pruned) >= asked.search.cohort_size


def test_budgets_that_round_to_the_same_step_are_one(tmp_path) -> None:
    """Two steps in an epoch: a quarter and a half of it are both the first step."""
    data = {"name": "digits", "train_size": 32, "val_size": 32}
    asked = settings(tmp_path, data=data, max_epochs=1, n_trials=4, race={"max_seeds": 2})
    found = finish(asked)
    assert {job.stop_epoch for job in found.trained.trainings} == {0.5, 1}


def test_too_large_a_batch_is_refused_before_any_training(tmp_path) -> None:
    trained = Trained(run_job)
    asked = settings(tmp_path, optimizer={"name": "sgd", "lr": 0.1, "batch_size": 129})
    with pytest.raises(ConfigError, match=r"optimizer\.batch_size must be at most the 128"):
        trained.run(asked)
    assert not trained.jobs


def test_the_fallback_is_trained_on_in_the_configured_size(tmp_path) -> None:
    data = {"name": "mnist", "root": str(tmp_path), "download": False, "fallback": "digits"}
    small = {"n_trials": 3, "search": {"seeds": 1}, "race": {"max_seeds": 2}}
    asked = settings(tmp_path, data=data | {"train_size": 64, "val_size": 32}, **small)
    found = finish(asked)
    assert (found.verdict.dataset, found.verdict.requested_dataset) == ("digits", "mnist")
    used = {job.task.data for job in found.trained.jobs}
    assert {(data.name, data.train_size, data.download) for data in used} == {("digits", 64, False)}
    (message,) = (text for (text,) in found.listener.heard("message") if "mnist" in text)
    assert "training on digits instead" in message


def test_a_fallback_is_found_under_the_configured_root(tmp_path) -> None:
    write_noise_as_mnist(tmp_path)
    data = {"name": "cifar10", "root": str(tmp_path), "download": False, "fallback": "mnist"}
    small = {"n_trials": 3, "search": {"seeds": 1}, "race": {"max_seeds": 2}}
    asked = settings(tmp_path, data=data | {"train_size": 32, "val_size": 20}, **small)
    found = finish(asked)
    assert (found.verdict.dataset, found.verdict.requested_dataset) == ("mnist", "cifar10")
    used = {job.task.data for job in found.trained.jobs}
    assert {(data.name, data.train_size, data.val_size) for data in used} == {("mnist", 32, 20)}


def write_noise_as_mnist(root: Path, n: int = 60) -> None:
    """Noise in the files and the format of MNIST, in torchvision's layout."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        images = np.random.default_rng(0).integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = np.arange(n, dtype=np.uint8) % 10
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
            header = bytes([0, 0, 8, values.ndim]) + sizes
            (raw / f"{part}-{kind}-ubyte").write_bytes(header + values.tobytes())


def test_a_study_without_enough_candidates_says_why(tmp_path) -> None:
    space = {"plans": {"huge": {"name": "normal", "std": 1e20}}}
    baselines = {"huge_too": {"name": "normal", "std": 2e20}, "bad": "test_broken"}
    with pytest.raises(InitSearchError) as stopped:
        run(settings(tmp_path, space=space, baselines=baselines, n_trials=3))
    message = str(stopped.value)
    assert "\n" not in message
    assert re.search(r"of 3 only 0 .*\(2 diverged, 1 failed: .*no weights of shape", message)
    assert "lower optimizer.lr" in message


def test_a_study_whose_complete_candidates_are_one_scheme_says_so(tmp_path) -> None:
    scaled = {"variance_scaling": {"factor": [1.0, 2.0]}}
    space = {"groups": {"all": {"where": {"kind": "linear"}, "weight": scaled}}}
    asked = {"space": space, "baselines": {"bad": "test_broken"}, "search": {"pruner": "none"}}
    with pytest.raises(InitSearchError, match=r"two schemes, but the 2 of 3 .*1 failed.*baseline"):
        run(settings(tmp_path, **asked, n_trials=3))


def test_candidates_that_are_all_one_scheme_are_a_tie_without_a_race(tmp_path) -> None:
    names = {"he": "he_normal", "msra": {"rules": [{"weight": "he_normal", "bias": "zeros"}]}}
    asked = settings(tmp_path, space={"plans": {"kaiming": "kaiming_normal"}}, baselines=names)
    trained = Trained(simulate)
    verdict = trained.run(asked)
    assert (verdict.status, verdict.winner, verdict.tie_set) == ("tie", None, ("he",))
    for word in ("he, msra and kaiming", "one scheme", "widen the space", "n_trials"):
        assert word in verdict.sentence
    (standing,) = verdict.candidates
    ends = [
        curve.points[-1] for result in trained.results for curve in result.curves if curve.points
    ]
    full = [point.scores["val_accuracy"] for point in ends if point.epoch == asked.max_epochs]
    assert standing.mean == pytest.approx(np.mean(full))
    assert standing.scores.keys() == set(asked.search_seeds)
    assert {name for name, *_ in trained.pieces} == {"he"}  # its twins are not trained
    assert Study(asked, Listener(), Listener()).finished == verdict


def test_a_study_takes_no_other_s_verdict(plain) -> None:
    for change in ({"n_trials": 10}, {"race": {"max_seeds": 5}}, {"race": {"alpha": 0.1}}):
        assert (
            Study(settings(plain.asked.output_dir, **change), Listener(), Listener()).finished
            is None
        )
    same = Study(settings(plain.asked.output_dir, workers=7), Listener(), Listener()).finished
    assert same is not None
    assert same.to_json() == plain.verdict.to_json()


def test_how_cohorts_are_trained_is_probed_once_reported_and_kept(monkeypatch, tmp_path) -> None:
    trainer = {"engine": "auto", "autocast": "auto"}
    choice = EngineChoice("loop", 4, False, "bf16", "because it is so")
    probed: list[Any] = []

    def probe(job: TrainJob, largest: int, processes: int) -> EngineChoice:
        probed.append((largest, processes))
        return choice

    monkeypatch.setattr(job_maker, "probe_engines", probe)
    trained, listener = Trained(simulate), Listener()
    asked = settings(tmp_path, trainer=trainer)
    trained.run(asked, listener)
    assert ("cohorts: because it is so",) in listener.heard("message")
    assert probed == [(asked.search.cohort_size, asked.workers)]
    kept = json.loads((folder(asked) / "engine.json").read_text())
    assert EngineChoice.from_json(kept) == choice
    # bf16 may change who wins: it is for the search alone.
    seeds = {job.trainer.autocast: {job.seed >= 1000} for job in trained.jobs}
    assert seeds == {"bf16": {False}, "none": {True}}
    # A resumed study trains in the same way, whatever a probe would find by then.
    trained.run(settings(tmp_path, trainer=trainer, n_trials=11))
    assert len(probed) == 1
