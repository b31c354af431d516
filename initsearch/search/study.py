"""A study from its settings to its verdict: search, short list, race, test, records."""

import json
import math
import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path

from filelock import FileLock, Timeout

from initsearch.errors import ConfigError, InitSearchError
from initsearch.files import read_whole, short_name, write_whole
from initsearch.layers import Slot
from initsearch.plan import InitPlan, Where
from initsearch.search.candidates import TrainedCandidate
from initsearch.search.context import StudyContext
from initsearch.search.jobs.clock import StudyClock
from initsearch.search.jobs.job_book import JobBook
from initsearch.search.jobs.job_maker import JobMaker
from initsearch.search.jobs.overruns import OverrunBook
from initsearch.search.jobs.time_limits import TimeLimits
from initsearch.search.metric import make_metric
from initsearch.search.model_check import look_at_model
from initsearch.search.racing.race_plan import plan_lines
from initsearch.search.racing.race_runner import TEST_WORK, RaceRunner
from initsearch.search.racing.shortlist import baseline_of, missing_baseline, shortlist, too_few
from initsearch.search.rungs import Budgets, make_budgets
from initsearch.search.search_loop import SearchLoop
from initsearch.search.settings import StudySettings
from initsearch.search.tracker import BufferedTracker, Progress, StudyInfo, Tracker
from initsearch.search.trials import TrialStore
from initsearch.search.verdict import Verdict
from initsearch.search.verdict.builder import Findings, build_verdict
from initsearch.search.verdict.one_scheme import is_one_scheme, one_scheme_verdict
from initsearch.tasks import StandaloneTask
from initsearch.training import CohortResult, Job, run_job


class Study:
    """One sweep on one data set.

    A study lives in a folder named after everything its results depend on. Running it again resumes it, or
    extends it if more trials or seeds are allowed.

    Args:
        settings: What is searched.
        tracker: Keeps the records.
        progress: Shows how far the study is.
        train: Runs a job; the executor calls it, perhaps in another process.

    Attributes:
        settings: What is searched.
        name: The study's name, with a hash.
        folder: Where the study's own files are written.

    Raises:
        ConfigError: A setting does not fit the data.
        DataError: The data set cannot be had.
    """

    def __init__(
        self,
        settings: StudySettings,
        tracker: Tracker,
        progress: Progress,
        train: Callable[[Job], CohortResult] = run_job,
    ) -> None:
        self.settings = settings
        self._tracker = tracker
        self._progress = progress
        self._train = train
        self._metric = make_metric(settings.metric, settings.target_accuracy, settings.mode)
        self._data = settings.task.info()
        self._metric.check_scores(self._data.scores)
        self._metric.check_margin(settings.race.margin, self._data.guess)
        self._slots: Sequence[Slot] = ()
        for message in self._data.messages:
            progress.message(message)
        identity = settings.identity(self._data.contents)
        # A folder's name: of plain characters, and not too long for the file system.
        self.name = short_name(
            re.sub(r"[^\w.-]+", "-", f"{settings.name}-{self._data.dataset}-{identity}")
        )
        self.folder = settings.output_dir / self.name

    @property
    def finished(self) -> Verdict | None:
        """The verdict, if this study has answered the same request before.

        None as well if a training was ended by a time limit that has been raised since.
        """
        verdict = self._last_verdict()
        request = self.settings.request(self._data.contents)
        if verdict is None or verdict.evidence.request != request:
            return None
        limits = TimeLimits(self.settings.job_timeout)
        late = OverrunBook(self._jobs, limits, self._progress.message).may_end_now
        return None if late else verdict

    @property
    def has_results(self) -> bool:
        """Whether the results of its trainings are kept, from which all else can be made again."""
        return any(self._jobs.glob("*.json"))

    def run(self, executor: Executor) -> Verdict:
        """Search, race and judge, from wherever an interrupted run stopped.

        Raises:
            ConfigError: Another process runs this study, or a group of the space matches no layer of the model.
            ModelError: The model cannot be built.
            JobEndedError: The model's code hangs, or ends its process.
            InitSearchError: Fewer than two candidates can be trained.
            KeyboardInterrupt: Ctrl-C; results so far are kept.
        """
        # Errors in the model and the space are reported before any training.
        self._slots = look_at_model(self.settings.task, executor, self.settings.job_timeout)
        self._check_space()
        lock = FileLock(self.settings.output_dir / f".{self.name}.lock", timeout=0)
        try:
            with lock, StudyClock(self.folder / "elapsed.json", self._progress.message) as clock:
                return self._run(executor, clock)
        except Timeout as error:
            raise ConfigError(
                f"study {self.name} is being run by another process: wait for it, or give another output_dir"
            ) from error

    def tidy(self) -> None:
        """Remove the weights between jobs; a worker may leave some more after the verdict."""
        shutil.rmtree(self._states, ignore_errors=True)

    def _run(self, executor: Executor, clock: StudyClock) -> Verdict:
        context = self._prepare(executor, clock)
        candidates = self._start_search(context).finish()
        entrants = self._shortlist(candidates)
        if is_one_scheme(candidates):
            verdict = one_scheme_verdict(
                candidates,
                entrants[0],
                settings=self.settings,
                metric=self._metric,
                data=self._data,
                seconds=(clock.seconds, context.jobs.cpu_seconds),
                earlier_races=self._earlier_races(entrants),
            )
        else:
            verdict = self._race(context, clock, candidates, entrants)
        self._record(verdict, candidates)
        return verdict

    def _race(
        self,
        context: StudyContext,
        clock: StudyClock,
        candidates: Sequence[TrainedCandidate],
        entrants: Sequence[TrainedCandidate],
    ) -> Verdict:
        """Race the short list, test the leader and the baseline, and judge."""
        baseline = baseline_of(entrants, self._baseline).name
        missing = missing_baseline(candidates, entrants, self._baseline)
        if missing:
            self._progress.message(missing)
        runner = RaceRunner(context, [entrant.candidate for entrant in entrants])
        examples = self._data.sizes.get("validation")
        for line in plan_lines(entrants, self._metric, runner.rules, examples):
            self._progress.message(line)
        race = runner.run(baseline)
        test = runner.test((race.leader, baseline, race.recommended), race)
        findings = Findings(
            candidates=candidates,
            entrants=entrants,
            baseline=baseline,
            missing_baseline=missing,
            race=race,
            rungs=context.budgets.rungs,
            test=test,
            wall_seconds=clock.seconds,
            cpu_seconds=context.jobs.cpu_seconds,
            data=self._data,
            earlier_races=self._earlier_races(entrants),
            engines=context.jobs.engines,
        )
        return build_verdict(
            findings,
            settings=self.settings,
            metric=self._metric,
        )

    def _prepare(self, executor: Executor, clock: StudyClock) -> StudyContext:
        """Decide budgets and engine, and report the work to come."""
        settings, progress = self.settings, self._progress
        composed = json.dumps(settings.composed, indent=2, default=str) + "\n"
        write_whole(self.folder / "settings.json", composed)
        by_itself = isinstance(settings.task, StandaloneTask)
        budgets = make_budgets(
            settings,
            self._metric,
            self._data.steps_per_epoch,
            # Starting a training over several processes takes longer than a probe, and a task that trains by
            # itself may start each one from scratch.
            probe=not (settings.trainer.distributed or by_itself),
        )
        maker = JobMaker(settings, settings.task.pinned(), self._states)
        limits = TimeLimits(settings.job_timeout, None if by_itself else budgets.steps_per_epoch)
        maker = maker.with_engine(self.folder / "engine.json", executor, limits, progress.message)
        if maker.engine is not None:
            progress.message(f"cohorts: {maker.engine.reason}")
        self._report_idle_workers(maker.cohort_limit)
        self._plan_work(budgets)
        jobs = JobBook(
            self._jobs,
            executor,
            progress,
            self._train,
            cohort_limit=maker.cohort_limit,
            limits=limits,
            written=clock.save,
        )
        return StudyContext(
            settings=settings,
            jobs=jobs,
            maker=maker,
            metric=self._metric,
            budgets=budgets,
            guess=self._data.guess,
            test_score=self._data.test_score,
            slots=self._slots,
            tracker=BufferedTracker(self._tracker),
            progress=progress,
        )

    def _start_search(self, context: StudyContext) -> SearchLoop:
        """Start the search and its records; workers need not wait for MLflow, which takes seconds to open."""
        trials = TrialStore(
            self.settings.output_dir / "optuna.journal",
            self.name,
            metric=self._metric.name,
            higher_is_better=self._metric.higher_is_better,
            pruner=self.settings.search.pruner,
            report=self._progress.message,
        )
        study = self._study_info(context.budgets)
        if self.settings.workers == 0:  # a job is trained when it is submitted
            context.tracker.start_study(study)
            return SearchLoop.start(context, trials)
        search = SearchLoop.start(context, trials)
        context.tracker.start_study(study)
        return search

    def _shortlist(self, candidates: Sequence[TrainedCandidate]) -> list[TrainedCandidate]:
        """The entrants of the race, best first."""
        size = self.settings.race.shortlist
        entrants = shortlist(candidates, self._baseline, self._metric, size)
        if len(entrants) < 2 and not is_one_scheme(candidates):
            raise InitSearchError(too_few(candidates))
        return entrants

    def _record(self, verdict: Verdict, candidates: Sequence[TrainedCandidate]) -> None:
        """Report the ends of all candidates and the verdict, and write the study's own files."""
        for candidate in candidates:
            status = candidate.status or "failed"
            self._tracker.end_candidate(candidate.name, status, candidate.reason)
        self._save_winner(verdict)
        self._tracker.end_study(verdict)
        self.tidy()
        # The last step: a study that has this file is finished.
        verdict.save(self._verdict_file)

    def _save_winner(self, verdict: Verdict) -> None:
        """Write the recommended plan, with its name and the verdict's sentence as a comment."""
        taken = verdict.to_take
        default = " (the default)" if taken.name == verdict.baseline else ""
        InitPlan.from_spec(taken.plan).save(
            self.folder / "winner.yaml",
            comment=f"plan to take: {taken.name}{default}\nverdict ({verdict.status}): {verdict.sentence}",
        )

    @property
    def _jobs(self) -> Path:
        """The folder for the results of trainings."""
        return self.folder / "jobs"

    @property
    def _states(self) -> Path:
        """The folder for the weights of candidates between two jobs."""
        return self.folder / "states"

    @property
    def _verdict_file(self) -> Path:
        return self.folder / "verdict.json"

    @property
    def _baseline(self) -> str:
        """The scheme of the verdict's baseline."""
        return next(iter(self.settings.baselines))

    def _last_verdict(self) -> Verdict | None:
        """The last verdict of this study, whatever was requested."""
        file = self._verdict_file
        return read_whole(file, lambda _: Verdict.load(file), self._progress.message)

    def _earlier_races(self, entrants: Sequence[TrainedCandidate]) -> dict[str, float]:
        """Alpha by race of the other races that this study has decided before."""
        last = self._last_verdict()
        if last is None:
            return {}
        races, contents = last.evidence.races, self._data.contents
        if not races:  # a verdict of an earlier version, which had a race for each number of trials
            same = last.evidence.race_request == self.settings.race_request(contents)
            alphas = last.evidence.alphas[:-1] if same else last.evidence.alphas
            races = {f"earlier-{number}": alpha for number, alpha in enumerate(alphas)}
        this = self.settings.race_key(contents, (entrant.name for entrant in entrants))
        return {race: alpha for race, alpha in races.items() if race != this}

    def _check_space(self) -> None:
        """Report errors in the space before any training."""
        space, slots = self.settings.space, self._slots
        if not slots:
            return
        architecture, unmatched = self.settings.architecture, space.without_effect(slots)
        idle = space.idle_groups(slots)
        for group in idle:
            # Its choices would make candidates that differ in name only.
            if group.size == 1 and len(idle) < len(space.groups):
                continue
            where = Where.from_spec(group.where).spec()
            if where in unmatched:
                found = {slot.activation for slot in slots} - {None, "", "none"}
                followed = " or ".join(sorted(map(str, found))) or "no activation"
                problem = f"{where} matches none: its layers are followed by {followed}"
                remedy = f"change space.groups.{group.name}.where"
            else:
                problem = f"groups before it match all that {where} matches"
                remedy = "put it before them"
            raise ConfigError(
                f"space group {group.name!r} must match a layer of {architecture}, but {problem}; "
                f"{remedy}, or remove the group (~space.groups.{group.name})"
            )
        for where in unmatched:
            self._progress.message(f"no layer of {architecture} matches {where}: it has no effect")

    def _report_idle_workers(self, cohort_limit: int) -> None:
        """Report workers for which the search has no jobs."""
        settings, search = self.settings, self.settings.search
        jobs = search.seeds * math.ceil(search.cohort_size / cohort_limit)
        most, opened = search.open_cohorts * jobs, search.open_cohorts * search.cohort_size
        if settings.workers > most and settings.n_trials > opened:
            self._progress.message(
                f"{settings.workers} workers, but the search trains at most {most} jobs at a time: "
                f"search.open_cohorts={math.ceil(settings.workers / jobs)} keeps all of them busy"
            )

    def _plan_work(self, budgets: Budgets) -> None:
        """Report the work of all phases, each at its most, for one estimate of the time left."""
        settings, full = self.settings, budgets.full
        entrants = min(settings.race.shortlist + 1, settings.n_trials)
        self._progress.plan(
            {
                "search": settings.n_trials * settings.search.seeds * full,
                "race": entrants * settings.race.max_seeds * full,
                # The leader, the baseline and the recommended candidate.
                "test": 3 * settings.race.max_seeds * TEST_WORK if self._data.test_score else 0.0,
            }
        )

    def _study_info(self, budgets: Budgets) -> StudyInfo:
        return StudyInfo(
            name=self.name,
            folder=self.folder,
            architecture=self.settings.architecture,
            dataset=self._data.dataset,
            requested_dataset=self._data.requested,
            metric=self._metric.name,
            higher_is_better=self._metric.higher_is_better,
            settings=self.settings.composed,
            n_trials=self.settings.n_trials,
            steps_per_epoch=budgets.steps_per_epoch,
        )
