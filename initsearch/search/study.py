"""A study from its settings to its verdict: search, short list, race, test, records."""

import contextlib
import json
import math
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from initsearch.errors import ConfigError, InitSearchError
from initsearch.files import write_whole
from initsearch.layers import describe
from initsearch.plan import InitPlan, Where
from initsearch.search.blocks import JobMaker, search_seed
from initsearch.search.budgets import make_budgets
from initsearch.search.candidates import TrainedCandidate
from initsearch.search.context import StudyContext
from initsearch.search.engine import engine_choice
from initsearch.search.jobs import JobBook
from initsearch.search.metric import Metric, make_metric
from initsearch.search.race_runner import TEST_WORK, RaceResult, RaceRunner
from initsearch.search.search_loop import SearchLoop
from initsearch.search.settings import StudySettings
from initsearch.search.shortlist import baseline_of, shortlist, too_few
from initsearch.search.tracker import BufferedTracker, Progress, StudyInfo, Tracker
from initsearch.search.trial_store import TrialStore
from initsearch.search.verdict import ImageCounts, Verdict
from initsearch.search.verdict_builder import Findings, build_verdict
from initsearch.training.job import Candidate


class Study:
    """One sweep on one data set.

    Args:
        settings: What is searched.
        tracker: Keeps the records.
        progress: Shows how far it is.
    """

    def __init__(self, settings: StudySettings, tracker: Tracker, progress: Progress) -> None:
        self.settings = settings
        self._tracker = tracker
        self._progress = progress
        self._metric: Metric = make_metric(settings.metric, settings.target_accuracy)
        self._info = settings.task.info()
        self._metric.check_margin(settings.race.margin, self._info.guess)
        self.dataset = self._info.dataset
        self._check_model()
        for message in self._info.messages:
            progress.message(message)
        identity = settings.identity(self._info.contents)
        self.name = re.sub(r"[^\w.-]+", "-", f"{settings.name}-{self.dataset}-{identity}")
        self.folder = settings.output_dir / self.name
        self._states = self.folder / "states"

    @property
    def finished(self) -> Verdict | None:
        """The verdict, if this study has been asked the same before and has answered."""
        verdict = self._last
        same = verdict is not None and verdict.evidence.request == self.settings.request()
        return verdict if same else None

    @property
    def has_results(self) -> bool:
        """Whether the results of its trainings are kept, from which all else can be made again."""
        return any((self.folder / "jobs").glob("*.json"))

    @property
    def _last(self) -> Verdict | None:
        """The verdict that this study gave last, whatever it was asked."""
        file = self.folder / "verdict.json"
        return Verdict.load(file) if file.exists() else None

    @property
    def _earlier_alphas(self) -> list[float]:
        """What the races of this study that were decided before, with other limits, might spend on errors."""
        last = self._last
        if last is None:
            return []
        spent = list(last.evidence.alphas)
        same = last.evidence.race_request == self.settings.race_request()
        return spent[:-1] if same else spent

    def run(self, executor: Executor) -> Verdict:
        """Search, race and judge, from wherever an interrupted run stopped.

        Raises:
            ConfigError: Another process runs this study, or a setting does not fit the data.
            InitSearchError: No candidate can be trained.
            KeyboardInterrupt: Ctrl-C; what was trained is kept.
        """
        lock = FileLock(self.settings.output_dir / f".{self.name}.lock", timeout=0)
        try:
            with lock:
                return self._run(executor)
        except Timeout as error:
            raise ConfigError(
                f"study {self.name} is being run by another process: wait for it, or give another output_dir"
            ) from error

    def tidy(self) -> None:
        """Remove the weights that trainings went on from; a worker may leave some more after the verdict."""
        shutil.rmtree(self._states, ignore_errors=True)

    def _run(self, executor: Executor) -> Verdict:
        clock = _Clock(self.folder / "elapsed.json")
        with contextlib.closing(clock):
            return self._search_and_race(executor, clock)

    def _search_and_race(self, executor: Executor, clock: "_Clock") -> Verdict:
        settings, tracker = self.settings, self._tracker
        write_whole(self.folder / "settings.json", _dump(settings.composed))
        distributed = settings.trainer.distributed
        # A training over several processes takes longer to begin than a probe takes.
        images = self._info.sizes["train"]
        budgets = make_budgets(settings, self._metric, images, probe=not distributed)
        maker = JobMaker(settings, settings.task.pinned(), self._states)
        self._choose_engine(maker, budgets.full, executor)
        limit = 1 if distributed else self._cohort_limit(maker)
        self._tell_of_idle_workers(limit)
        jobs = JobBook(self.folder / "jobs", executor, self._progress, cohort_limit=limit)
        context = StudyContext(
            settings=settings,
            jobs=jobs,
            maker=maker,
            metric=self._metric,
            budgets=budgets,
            guess=self._info.guess,
            test_score=self._info.test_score,
            tracker=BufferedTracker(tracker),
            progress=self._progress,
        )
        self._plan_work(budgets.full)
        search = self._start_search(context)
        candidates = search.finish()
        baseline = next(iter(settings.baselines))
        entrants = shortlist(candidates, baseline, self._metric, settings.race.shortlist)
        if len(entrants) < 2:
            raise InitSearchError(too_few(candidates))
        named = baseline_of(entrants, baseline).name
        runner = RaceRunner(context, [entrant.candidate for entrant in entrants])
        result = runner.run(named)
        test = runner.test((result.leader, named), result)
        verdict = build_verdict(
            Findings(
                candidates=candidates,
                entrants=entrants,
                baseline=named,
                race=result,
                rungs=budgets.rungs,
                test=test,
                wall_seconds=clock.seconds,
                cpu_seconds=jobs.cpu_seconds,
                images=ImageCounts(**self._info.sizes),
                earlier_alphas=self._earlier_alphas,
            ),
            settings=settings,
            metric=self._metric,
            dataset=self.dataset,
            requested=self._info.requested,
        )
        self._end_candidates(candidates)
        self._save_winner(verdict)
        tracker.end_study(verdict, self._report_facts(result))
        self.tidy()
        # Last of all: a study that has it is finished, and is not asked for anything else again.
        verdict.save(self.folder / "verdict.json")
        return verdict

    def _choose_engine(self, maker: JobMaker, budget: float, executor: Executor) -> None:
        """Probe how to train cohorts, if the trainer's settings leave it open, and say what was chosen."""
        name, plan = next(iter(self.settings.baselines.items()))
        lr = self.settings.task.optimizer.lr
        sample = Candidate(name, InitPlan.from_spec(plan).spec(), lr)
        job = maker.make([sample], search_seed(self.settings.seed, 0), 0.0, budget, keep=False)
        maker.choice = engine_choice(self.settings, job, self.folder / "engine.json", executor)
        if maker.choice is not None:
            self._progress.message(f"cohorts: {maker.choice.reason}")

    def _cohort_limit(self, maker: JobMaker) -> int:
        """Candidates that one job may train: few enough that the blocks' jobs keep all workers busy.

        Only a loop's cohorts are cut for that: its numbers do not depend on who else is in a cohort, not even
        in the last digit.
        """
        settings, choice = self.settings, maker.choice
        limit = choice.cohort_size if choice else settings.search.cohort_size
        if not maker.stacks:
            parts = math.ceil(settings.workers / settings.search.seeds)
            limit = min(limit, math.ceil(settings.search.cohort_size / parts))
        return limit

    def _plan_work(self, budget: float) -> None:
        """Announce the work of all phases, each at its most, for one estimate of the time left."""
        settings = self.settings
        entrants = min(settings.race.shortlist + 1, settings.n_trials)
        self._progress.plan(
            {
                "search": settings.n_trials * settings.search.seeds * budget,
                "race": entrants * settings.race.max_seeds * budget,
                "test": 2 * settings.race.max_seeds * TEST_WORK,
            }
        )

    def _tell_of_idle_workers(self, limit: int) -> None:
        """Say so where more workers are there than the search has jobs in training at a time."""
        workers, trials, search = (
            self.settings.workers,
            self.settings.n_trials,
            self.settings.search,
        )
        jobs = search.seeds * math.ceil(search.cohort_size / limit)
        most, opened = search.open_cohorts * jobs, search.open_cohorts * search.cohort_size
        if workers > most and trials > opened:
            self._progress.message(
                f"{workers} workers, but the search trains at most {most} jobs at a time: "
                f"search.open_cohorts={math.ceil(workers / jobs)} keeps all of them busy"
            )

    def _check_model(self) -> None:
        """Build the model once, so that what is wrong with it, or with a rule, is told before any training."""
        task = self.settings.task
        slots = describe(task.build_model(), task.example_inputs())
        idle = self.settings.space.without_effect(slots)
        conditions = [Where.from_spec(g.where).spec() for g in self.settings.space.groups]
        if conditions and all(where in idle for where in conditions):
            found = sorted({slot.activation for slot in slots if slot.activation})
            raise ConfigError(
                f"a group of the space must hold for a layer of {self.settings.architecture}, but none "
                f"does of {', '.join(map(str, conditions))}: its layers are followed by "
                f"{', '.join(found) or 'nothing'}"
            )
        for where in idle:
            self._progress.message(
                f"no layer of {self.settings.architecture} is like {where}: what the space says of it is idle"
            )

    def _start_search(self, context: StudyContext) -> SearchLoop:
        """Start the search and its records; workers need not wait for MLflow, which takes seconds to open."""
        trials = TrialStore(
            self.settings.output_dir / "optuna.journal",
            self.name,
            metric=self._metric.name,
            higher_is_better=self._metric.higher_is_better,
            pruner=self.settings.search.pruner,
        )
        if self.settings.workers == 1:  # a job is trained when it is submitted
            context.tracker.start_study(self._study_info())
            return SearchLoop.start(context, trials)
        search = SearchLoop.start(context, trials)
        context.tracker.start_study(self._study_info())
        return search

    def _study_info(self) -> StudyInfo:
        return StudyInfo(
            name=self.name,
            folder=self.folder,
            architecture=self.settings.architecture,
            dataset=self.dataset,
            requested_dataset=self._info.requested,
            metric=self._metric.name,
            higher_is_better=self._metric.higher_is_better,
            settings=self.settings.composed,
            n_trials=self.settings.n_trials,
        )

    def _end_candidates(self, candidates: Sequence[TrainedCandidate]) -> None:
        for candidate in candidates:
            self._tracker.end_candidate(
                candidate.name, candidate.status or "failed", candidate.reason
            )

    def _report_facts(self, result: RaceResult) -> dict[str, Any]:
        point = next(
            (
                c.points[-1]
                for by_seed in result.curves.values()
                for c in by_seed.values()
                if c.points
            ),
            None,
        )
        return {"steps_per_epoch": point.step / point.epoch if point else None}

    def _save_winner(self, verdict: Verdict) -> None:
        """Write the leader's plan, with what the verdict says of it."""
        leader = verdict.candidates[0]
        plan = InitPlan.from_spec(leader.plan)
        # An undecided verdict's sentence says that it is one.
        status = "" if verdict.status == "undecided" else f"{verdict.status}: "
        plan.save(self.folder / "winner.yaml", comment=f"{status}{verdict.sentence}")


class _Clock:
    """Wall time of a study over all runs that worked on it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._before = json.loads(file.read_text())["seconds"] if file.exists() else 0.0
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        return float(self._before + time.perf_counter() - self._started)

    def close(self) -> None:
        write_whole(self._file, json.dumps({"seconds": self.seconds}))


def _dump(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, indent=2, default=str) + "\n"
