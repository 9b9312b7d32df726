"""Searches: each default first, then draws around the best learners, pruned by fold, within a CPU budget."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np
from mltrainer_models import canonical_digest

from mltrainer_trainer.domain.catalogue import CatalogueEntry, Choice, CostClass, Parameters
from mltrainer_trainer.domain.cpu_budget import EXPECTED_S, Reserve, SearchBudget
from mltrainer_trainer.domain.losses_by_month import is_beaten
from mltrainer_trainer.domain.metrics import OutOfSample
from mltrainer_trainer.domain.sampling import Observation, Sampler
from mltrainer_trainer.domain.search import (
    TRAINING_BARS,
    Candidate,
    Hooks,
    SkippedModel,
    SkipReason,
    Trial,
    TrialState,
)
from mltrainer_trainer.domain.training_data import Integers, TrainingData
from mltrainer_trainer.domain.trials import (
    TOO_LITTLE_LEFT,
    TrialBench,
    TrialTask,
    TrialWorkers,
    months_of,
    one_by_one,
)
from mltrainer_trainer.domain.walk_forward import Fold

# Markets change: learners are also fitted on the latest half of the dates, where that is as many as this.
_FEWEST_RECENT_BARS = 1_000
_SEARCHED_LEARNERS = 4
_MOST_REPEATS = 20
GENERATION_TRIALS = 4
"""Configurations that are drawn from the same observations, so that as many workers can evaluate them."""
_DRAWING_COST = {
    CostClass.TRIVIAL: 1,
    CostClass.CHEAP: 1,
    CostClass.MODERATE: 2,
    CostClass.EXPENSIVE: 8,
}


@dataclass(frozen=True, slots=True)
class _Draft:
    """A configuration that may be evaluated; without a reserve, one that may be needed whatever it takes."""

    candidate: Candidate
    parameters: Parameters
    reserve: Reserve | None
    is_default: bool
    expected_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Begun:
    """What a trial that goes on may still take."""

    claim_s: float
    is_baseline: bool


@dataclass(slots=True)
class Study:
    """Evaluates configurations on the validation folds, always with the same data and seed.

    The course depends on data, seed and what trials come out as, and on CPU time only where the budget ends
    it. `guard` looks at a candidate before it is tried.
    """

    candidates: Sequence[Candidate]
    data: TrainingData
    folds: Sequence[Fold]
    seed: int
    context_digest: str
    hooks: Hooks
    sampler: Sampler
    guard: Callable[[Candidate], None] = field(default=lambda _candidate: None)
    trials: list[Trial] = field(default_factory=list)
    skipped: list[SkippedModel] = field(default_factory=list)
    results: dict[str, list[OutOfSample]] = field(default_factory=dict)
    _started_s: float = 0.0
    _draws: dict[str, int] = field(default_factory=dict)
    _repeats: int = 0

    def execute(self, budget: SearchBudget) -> None:
        """Fills `trials`, `skipped`, and `results`, the out-of-fold predictions by configuration digest."""
        self._started_s = self.hooks.cpu_seconds()
        bench = TrialBench(
            self.candidates, self.data, self.folds, self.seed, self.guard, self.hooks.cpu_seconds
        )
        with (self.hooks.open_workers or one_by_one)(bench) as workers:
            self._try_defaults(budget, workers)
            self._try_recent(budget, workers)
            while (room := budget.max_trials - len(self.trials)) > 0:
                drawn = self._draw_generation(min(room, GENERATION_TRIALS), budget)
                if not drawn or self._evaluate(drawn, budget, workers):
                    break

    def _try_defaults(self, budget: SearchBudget, workers: TrialWorkers) -> None:
        ordered = sorted(self.candidates, key=_default_order)
        drafts = [_Draft(it, it.entry.defaults, None, is_default=True) for it in ordered]
        given_up = {it.candidate.entry.id for it in self._evaluate(drafts, budget, workers)}
        given_up |= {it.catalogue_id for it in self.trials if it.detail == TOO_LITTLE_LEFT}
        for candidate in ordered:
            if candidate.entry.id in given_up:
                skipped = SkippedModel(candidate.entry.id, SkipReason.BUDGET_EXHAUSTED, TOO_LITTLE_LEFT)
                self.skipped.append(skipped)

    def _try_recent(self, budget: SearchBudget, workers: TrialWorkers) -> None:
        bars = self._recent_bars()
        drafts = []
        for trial in self.ranking(baselines=False)[:_SEARCHED_LEARNERS] if bars else ():
            candidate = self.candidate(trial.catalogue_id)
            recent = {**candidate.entry.defaults, TRAINING_BARS: bars}
            expected_s = trial.cpu_seconds / 2
            drafts.append(_Draft(candidate, recent, Reserve(budget), is_default=True, expected_s=expected_s))
        self._evaluate(drafts, budget, workers)

    def _draw_generation(self, size: int, budget: SearchBudget) -> "list[_Draft]":
        """Draws so many configurations, none of them known, from what was seen before all of them."""
        reserve = Reserve(budget, _SEARCHED_LEARNERS)
        known = {it.configuration_digest for it in self.trials}
        drafts: list[_Draft] = []
        while len(drafts) < size and self._repeats < _MOST_REPEATS:
            drawn = self._draw()
            if drawn is None:
                break
            digest = self._digest(drawn[0].entry, drawn[1])
            if digest in known:
                self._repeats += 1
                continue
            known.add(digest)
            drafts.append(_Draft(*drawn, reserve, is_default=False))
        return drafts

    def _evaluate(
        self, drafts: "Sequence[_Draft]", budget: SearchBudget, workers: TrialWorkers
    ) -> "list[_Draft]":
        """Evaluates a generation and returns what the budget did not allow.

        None of it looks at what another one came out as, so it comes out the same however many are evaluated
        at a time; only what the budget allows depends on what was spent when.
        """
        incumbents = {it.candidate.entry.id: self.best(it.candidate.entry.id) for it in drafts}
        begun: dict[str, _Begun] = {}
        refused: list[_Draft] = []
        for draft in drafts:
            while len(begun) >= workers.count:
                self._take(begun, workers)
            self._report(draft.candidate, budget, len(begun))
            while (allowance_s := self._allowance(draft, budget, begun, workers)) is None and begun:
                self._take(begun, workers)
            if allowance_s is None:
                refused.append(draft)
                if not draft.is_default:
                    break
                continue
            incumbent = None if draft.is_default else incumbents[draft.candidate.entry.id]
            self._begin(draft, incumbent, allowance_s, begun, workers)
        while begun:
            self._take(begun, workers)
        return refused

    def _begin(
        self,
        draft: "_Draft",
        incumbent: Trial | None,
        allowance_s: float,
        begun: "dict[str, _Begun]",
        workers: TrialWorkers,
    ) -> None:
        entry, number = draft.candidate.entry, len(self.trials) + len(begun) + 1
        digest = self._digest(entry, draft.parameters)
        found = self.hooks.find_trial(digest)
        if found is not None:
            self.add(replace(found, number=number))
            return
        losses = incumbent.monthly_losses if incumbent is not None else None
        task = TrialTask(number, entry.id, draft.parameters, digest, draft.is_default, allowance_s, losses)
        workers.begin(task)
        claim_s = allowance_s if allowance_s < inf else self._expected_cpu(draft)
        begun[digest] = _Begun(claim_s, is_baseline=entry.is_baseline)

    def _take(self, begun: "dict[str, _Begun]", workers: TrialWorkers) -> None:
        evaluated = workers.take()
        digest = evaluated.trial.configuration_digest
        del begun[digest]
        if evaluated.parts:
            self.results[digest] = list(evaluated.parts)
        self.add(evaluated.trial)

    def _allowance(
        self, draft: "_Draft", budget: SearchBudget, begun: "dict[str, _Begun]", workers: TrialWorkers
    ) -> float | None:
        """Says how much CPU time a trial may take; None where that would be too little.

        What is free is shared by the workers that are, so that what all of them may take is never more.
        """
        reserve = draft.reserve or Reserve(budget)
        is_alone = not self.ranking(baselines=False) and all(it.is_baseline for it in begun.values())
        if draft.reserve is None and (draft.candidate.entry.is_baseline or is_alone):
            return inf
        left_s = self._left_s(reserve) - sum(it.claim_s for it in begun.values())
        share_s = left_s / (workers.count - len(begun))
        expected_s = self._expected_cpu(draft)
        if expected_s <= share_s:
            return share_s
        return left_s if not begun and expected_s <= left_s else None

    def _recent_bars(self) -> int:
        """Counts the latest half of the dates before validation; 0 where that is too few to fit on alone."""
        half = len(np.unique(self.data.date[self.folds[0].train])) // 2
        return half if half >= _FEWEST_RECENT_BARS else 0

    def spent_cpu_seconds(self) -> float:
        """Counts the CPU time of this study, with that of trials that were found."""
        return self.hooks.cpu_seconds() - self._started_s

    def add(self, trial: Trial) -> None:
        """Enters a trial."""
        self.trials.append(trial)
        self.trials.sort(key=lambda it: it.number)
        self.hooks.keep_trial(trial)

    def candidate(self, catalogue_id: str) -> Candidate:
        """Returns a candidate by the id of its entry."""
        return next(it for it in self.candidates if it.entry.id == catalogue_id)

    def best(self, catalogue_id: str) -> Trial | None:
        """Returns the better of the champions of a model."""
        return min(self.champions(catalogue_id), key=_rank, default=None)

    def champions(self, catalogue_id: str) -> list[Trial]:
        """Returns what to use of a model: a trial fitted on all dates, and one fitted on the latest only.

        The first of each kind, which has default parameters, holds its place until another is better by a
        standard error over months: a search over noise finds noise.
        """
        champions: dict[bool, Trial] = {}
        for trial in self.trials:
            if trial.catalogue_id != catalogue_id or trial.state is not TrialState.COMPLETE:
                continue
            is_recent = bool(trial.parameters.get(TRAINING_BARS))
            holder = champions.get(is_recent)
            if holder is None or is_beaten(holder.monthly_losses, trial.monthly_losses):
                champions[is_recent] = trial
        return list(champions.values())

    def ranking(self, *, baselines: bool) -> list[Trial]:
        """Returns the best trial of each baseline or of each other model, best first."""
        ids = [it.entry.id for it in self.candidates if it.entry.is_baseline == baselines]
        return sorted((best for best in map(self.best, ids) if best is not None), key=_rank)

    def fit_cpu_seconds(self, trial: Trial) -> float:
        """Says what one fit of a complete trial took."""
        return trial.cpu_seconds / len(self.folds)

    def reserved_cpu_seconds(self, budget: SearchBudget, chosen: Sequence[Trial]) -> float:
        """Predicts what remains to be paid where these are chosen: baselines are tested beside them."""
        baselines = sum(self.fit_cpu_seconds(it) for it in self.ranking(baselines=True))
        chosen_s = budget.choosing_s(sum(self.fit_cpu_seconds(it) for it in chosen))
        return chosen_s + budget.testing_s(baselines) + budget.closing_s

    def _report(self, candidate: Candidate, budget: SearchBudget, begun: int) -> None:
        finite = [it.objective for it in self.trials if _is_complete(it)]
        total = max(budget.max_trials, len(self.candidates), len(self.trials) + begun + 1)
        self.hooks.report("trials", len(self.trials), total, candidate.entry.id, min(finite, default=None))

    def _left_s(self, reserve: Reserve) -> float:
        """Says how much CPU time may be spent so that the reserve is left."""
        best = self.ranking(baselines=False)[: reserve.learners]
        kept = [it for one in best for it in self.champions(one.catalogue_id)]
        reserved_s = self.reserved_cpu_seconds(reserve.budget, kept)
        return reserve.budget.cpu_seconds - self.spent_cpu_seconds() - reserved_s

    def _expected_cpu(self, draft: "_Draft") -> float:
        if draft.expected_s is not None:
            return draft.expected_s
        entry = draft.candidate.entry
        known = self.best(entry.id)
        if known is not None:
            return known.cpu_seconds
        rows = sum(len(fold.train) for fold in self.folds)
        return EXPECTED_S[entry.cost_class] * rows / 1e5 * len(self.data.feature_names) / 40

    def _draw(self) -> tuple[Candidate, Parameters] | None:
        ranked = [self.candidate(it.catalogue_id) for it in self.ranking(baselines=False)]
        searched = [it for it in ranked if it.entry.search_space][:_SEARCHED_LEARNERS]
        if not searched:
            return None

        def claim(rank: int) -> int:
            entry = searched[rank].entry
            return (self._draws.get(entry.id, 0) + 1) * (rank + 1) * _DRAWING_COST[entry.cost_class]

        chosen = searched[min(range(len(searched)), key=claim)]
        number = self._draws.get(chosen.entry.id, 0)
        self._draws[chosen.entry.id] = number + 1
        return chosen, self._parameters(chosen.entry, number)

    def _parameters(self, entry: CatalogueEntry, number: int) -> Parameters:
        bars = self._recent_bars()
        spans = {TRAINING_BARS: Choice((0, bars))} if bars else {}
        space = {**entry.search_space, **spans}
        own = [trial for trial in self.trials if trial.catalogue_id == entry.id]
        seen = [
            Observation({TRAINING_BARS: 0, **it.parameters}, it.objective, is_complete=_is_complete(it))
            for it in own
        ]
        drawn = self.sampler(space, seen, self.seed + 7_919 * number)
        if not drawn.get(TRAINING_BARS):
            drawn.pop(TRAINING_BARS, None)
        return {**entry.defaults, **drawn}

    def months(self) -> Integers:
        """Returns the month of each date, counted from January 1970."""
        return months_of(self.data)

    def _digest(self, entry: CatalogueEntry, parameters: Parameters) -> str:
        return canonical_digest(
            {
                "context": self.context_digest,
                "entry": entry.digest,
                "parameters": dict(parameters),
                "seed": self.seed,
            }
        )


def _is_complete(trial: Trial) -> bool:
    return trial.state is TrialState.COMPLETE


def _rank(trial: Trial) -> tuple[float, int]:
    return trial.objective, trial.number


def _default_order(candidate: Candidate) -> tuple[bool, float]:
    return not candidate.entry.is_baseline, EXPECTED_S[candidate.entry.cost_class]
