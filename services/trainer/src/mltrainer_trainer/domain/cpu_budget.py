"""Predicts what a training still has to pay, so that its search ends in time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mltrainer_trainer.domain.catalogue import CostClass
from mltrainer_trainer.domain.walk_forward import Fold

# What is to come takes this much longer than what was measured lets expect: cores are shared.
MARGIN = 1.15
# The last fit also writes its model down and reads every row with it: 1.2 where boosters
# are combined.
_LAST_FIT = 1.3
# Expected CPU time of a fit on 100,000 rows of 40 features before any was measured: the middle of the class.
EXPECTED_S = {
    CostClass.TRIVIAL: 0.03,
    CostClass.CHEAP: 0.3,
    CostClass.MODERATE: 3.0,
    CostClass.EXPENSIVE: 30.0,
}


@dataclass(frozen=True, slots=True)
class SearchBudget:
    """How much may be tried, and what is to be paid after the search.

    Attributes:
        max_trials: Defaults are evaluated beyond it as far as the CPU time goes, baselines and one model
            always.
        cpu_seconds: Of the whole training.
        test_fits: What testing a configuration costs, in fits on a validation fold.
        last_fits: What its last fit costs, in the same unit.
        closing_s: What judging and packing cost, whatever is chosen.
        path_fits: What its combinatorial folds cost; none where they were not asked for.
    """

    max_trials: int
    cpu_seconds: float
    test_fits: float
    last_fits: float
    closing_s: float = 0.0
    path_fits: float = 0.0

    def testing_s(self, fit_s: float) -> float:
        """Predicts what testing a configuration takes whose fit on a validation fold took so long."""
        return MARGIN * fit_s * self.test_fits

    def last_s(self, fit_s: float) -> float:
        """Predicts what its last fit takes."""
        return MARGIN * fit_s * self.last_fits

    def choosing_s(self, fit_s: float) -> float:
        """Predicts what it takes to test it, on all folds that were asked for, and to fit it last."""
        return self.testing_s(fit_s) + self.last_s(fit_s) + self.paths_s(fit_s)

    def paths_s(self, fit_s: float) -> float:
        """Predicts what its combinatorial folds take."""
        return MARGIN * fit_s * self.path_fits


@dataclass(frozen=True, slots=True)
class Reserve:
    """What a trial leaves: enough to test so many of the best learners."""

    budget: SearchBudget
    learners: int = 1


def fits_to_come(folds: Sequence[Fold], inner: Sequence[Fold], row_count: int) -> tuple[float, float]:
    """Counts tests and last fit in fits on a validation fold; a fit takes as long as it has rows."""
    validated = sum(len(fold.train) for fold in inner) / len(inner)
    return sum(len(fold.train) for fold in folds) / validated, _LAST_FIT * row_count / validated


@dataclass(slots=True)
class CostsOfTests:
    """What tests have taken, beside what the trials let expect; `limit_s` is when the training must end."""

    budget: SearchBudget
    limit_s: float
    _taken_s: dict[str, float] = field(default_factory=dict)
    _expected_s: float = 0.0
    _are_paths_begun: bool = False

    def add(self, configuration_digest: str, fit_s: float, taken_s: float) -> None:
        """Enters a test of a configuration whose fit on a validation fold took `fit_s`."""
        self._taken_s[configuration_digest] = taken_s
        self._expected_s += fit_s * self.budget.test_fits

    def testing_s(self, fit_s: float) -> float:
        """Predicts what a further test takes, at the pace of those before."""
        pace = sum(self._taken_s.values()) / self._expected_s if self._expected_s else 1.0
        return self.budget.testing_s(fit_s) * max(1.0, pace)

    def would_overrun(self, now_s: float, further_s: float, members: Iterable[str]) -> bool:
        """Tells whether so much more would leave too little to judge the members and to fit them last."""
        fit_s = self._fit_s(members)
        kept_s = self.budget.last_s(fit_s) + self.budget.closing_s
        if not self._are_paths_begun:
            kept_s += self.budget.paths_s(fit_s)
        return now_s + further_s + kept_s > self.limit_s

    def begin_paths(self) -> None:
        """Spends from now on what was kept for combinatorial folds."""
        self._are_paths_begun = True

    def paths_s(self, members: Iterable[str]) -> float:
        """Predicts what the combinatorial folds of the members take, from their tests."""
        return self.budget.paths_s(self._fit_s(members))

    def _fit_s(self, members: Iterable[str]) -> float:
        return sum(self._taken_s.get(it, 0.0) for it in members) / self.budget.test_fits
