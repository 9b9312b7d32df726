"""What is finished is recorded in time, and recalled as it was."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer.trainer.v1.resources_pb2 import Trial as TrialMessage
from mltrainer_common.content_store import ContentStore
from mltrainer_trainer.adapters.journal import Journal, JournaledFits, StepContents
from mltrainer_trainer.domain.checkpoints import CheckpointTimer, FinishedStep, SearchProgress
from mltrainer_trainer.domain.recall import Recalled
from mltrainer_trainer.domain.search import MonthlyLoss, Trial, TrialState
from mltrainer_trainer.domain.verdict import PriorTrial
from mltrainer_trainer.wire.trials import from_trial, to_prior_trial

TRIAL = Trial(
    number=1,
    catalogue_id="ridge",
    parameters={"alpha": 0.1 + 0.2},
    seed=7,
    objective=1 / 3,
    metrics={"r2": 0.1, "sharpe": -math.inf},
    cpu_seconds=1.5,
    configuration_digest="d1",
    state=TrialState.COMPLETE,
    monthly_losses=(MonthlyLoss(500, 0.25),),
)
SMALL = Recalled(np.array([0.1, np.nan, 3.0]), 2.0)
LARGE = Recalled(np.arange(4_000, dtype=np.float64), 2.0)


class Trainer:
    """Takes what is recorded."""

    def __init__(self) -> None:
        self.trials: list[str] = []
        self.steps: dict[str, FinishedStep] = {}
        self.calls = 0

    def record(self, trials: Sequence[bytes], steps: Sequence[FinishedStep]) -> None:
        self.calls += 1
        self.trials += [TrialMessage.FromString(trial).configuration_digest for trial in trials]
        self.steps |= {step.key: step for step in steps}


class NoFits:
    """Knows nothing and keeps nothing."""

    def find(self, key: str) -> Recalled | None:
        return None

    def keep(self, key: str, result: Recalled) -> None:
        pass

    def lead(self, key: str) -> nullcontext[None]:
        return nullcontext()


@pytest.fixture
def contents(tmp_path: Path) -> StepContents:
    return StepContents(ContentStore(str(tmp_path)))


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_trial_is_recorded_when_it_ends_and_found_bit_by_bit(contents: StepContents) -> None:
    trainer = Trainer()
    Journal(trainer.record, contents, {}, 0.0).keep_trial(TRIAL)

    found = Journal(trainer.record, contents, trainer.steps, 0.0).find_trial("d1")

    assert trainer.trials == ["d1"]
    assert found == TRIAL


@pytest.mark.parametrize("state", list(TrialState))
def test_the_ledger_tells_later_trainings_what_a_trial_tells(state: TrialState) -> None:
    trial = replace(TRIAL, state=state, detail="why")

    read = to_prior_trial(TrialMessage.FromString(from_trial(trial)))

    assert read == PriorTrial.of(trial)


def test_what_was_found_is_charged_and_not_recorded_again(contents: StepContents) -> None:
    trainer = Trainer()
    Journal(trainer.record, contents, {}, 0.0).keep_trial(TRIAL)
    later = Journal(trainer.record, contents, trainer.steps, 0.0)

    found = later.find_trial("d1")
    assert found is not None
    later.keep_trial(found)

    assert later.charged_cpu_seconds == TRIAL.cpu_seconds
    assert trainer.calls == 1
    assert later.progress(9) == SearchProgress(1, 9, TRIAL.objective)


def test_a_failed_trial_counts_and_is_never_the_best(contents: StepContents) -> None:
    journal = Journal(Trainer().record, contents, {}, 0.0)

    journal.keep_trial(replace(TRIAL, state=TrialState.FAILED, objective=-1.0))
    journal.keep_trial(replace(TRIAL, objective=math.inf))

    assert journal.progress(9) == SearchProgress(2, 9, None)
    assert journal.progress(0) == SearchProgress(2, 9, None)


def test_fits_are_recorded_once_an_interval_of_work_is_at_stake(contents: StepContents) -> None:
    trainer, clock = Trainer(), Clock()
    journal = Journal(trainer.record, contents, {}, 10.0, clock)
    fits = JournaledFits(journal, NoFits())
    recorded = []
    for number in range(6):
        clock.now_s += 4.0
        fits.keep(f"fit{number}", SMALL)
        recorded.append(len(trainer.steps))

    assert recorded == [0, 2, 2, 4, 4, 6]


def test_without_an_interval_only_trials_are_recorded(contents: StepContents) -> None:
    trainer, clock = Trainer(), Clock()
    journal = Journal(trainer.record, contents, {}, 0.0, clock)

    clock.now_s += 1_000.0
    journal.keep_fit("fit", SMALL)
    journal.keep_trial(TRIAL)

    assert trainer.steps.keys() == {"d1"}


@pytest.mark.parametrize("fit", [pytest.param(SMALL, id="small"), pytest.param(LARGE, id="large")])
def test_a_fit_is_found_bit_by_bit_wherever_its_content_lies(fit: Recalled, contents: StepContents) -> None:
    trainer, clock = Trainer(), Clock()
    journal = Journal(trainer.record, contents, {}, 1.0, clock)
    clock.now_s += 2.0
    journal.keep_fit("fit", fit)

    found = JournaledFits(Journal(trainer.record, contents, trainer.steps, 1.0), NoFits()).find("fit")

    assert found is not None
    assert found.content.tobytes() == fit.content.tobytes()
    assert found.cpu_seconds == fit.cpu_seconds
    assert all(len(step.content) <= 16 << 10 for step in trainer.steps.values())


def test_a_fit_whose_content_is_gone_is_computed_again(contents: StepContents, tmp_path: Path) -> None:
    trainer, clock = Trainer(), Clock()
    journal = Journal(trainer.record, contents, {}, 1.0, clock)
    clock.now_s += 2.0
    journal.keep_fit("fit", LARGE)
    ContentStore(str(tmp_path)).delete(trainer.steps["fit"].content_sha256)

    assert Journal(trainer.record, contents, trainer.steps, 1.0).find_fit("fit") is None


def test_a_process_that_must_end_makes_safe_what_is_finished(contents: StepContents) -> None:
    trainer = Trainer()
    journal = Journal(trainer.record, contents, {}, 1_000.0)
    journal.keep_fit("fit", SMALL)

    journal.checkpoint()
    journal.checkpoint()

    assert trainer.steps.keys() == {"fit"}
    assert trainer.calls == 1


@given(
    steps=st.lists(st.floats(min_value=0.01, max_value=20.0), min_size=1, max_size=40),
    interval_s=st.floats(min_value=0.1, max_value=30.0),
)
def test_a_kill_loses_at_most_an_interval_and_the_step_that_is_longer_than_the_last(
    steps: list[float], interval_s: float
) -> None:
    timer, now_s, safe_s, last_s = CheckpointTimer(interval_s, 0.0, 0.0), 0.0, 0.0, 0.0
    for step_s in steps:
        now_s += step_s
        unforeseen_s = max(step_s - last_s, 0.0)
        assert now_s - safe_s <= max(interval_s, step_s) + unforeseen_s + 1e-9
        if timer.is_due(now_s):
            timer.made(now_s)
            safe_s = now_s
        last_s = step_s
