import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mltrainer_models import LinearModel, ModelDescription, ModelTarget
from mltrainer_trainer.adapters.fit_results import FileFitResults
from mltrainer_trainer.domain.catalogue import CATALOGUE, CatalogueEntry
from mltrainer_trainer.domain.learners import FitRequest, Learner
from mltrainer_trainer.domain.recall import Recall, Recalled, recalling
from mltrainer_trainer.domain.training_data import Floats

ENTRY = CATALOGUE[0]
MATRIX = np.arange(12.0).reshape(6, 2)
DESCRIPTION = ModelDescription("ridge", ModelTarget("DIRECTION", 5), ("a", "b"), {"alpha": 0.5}, {"v": "1"})
OTHER = ModelDescription("ridge", ModelTarget("DIRECTION", 5), ("a", "c"), {}, {"v": "2"})
REQUEST = FitRequest(MATRIX, np.arange(6.0), {"alpha": 0.5, "depth": 3}, 5, 7)


@dataclass
class CountingLearner:
    """Predicts the mean label plus an offset, a CPU second per fit."""

    clock: list[float]
    offset: float = 0.0
    fits: int = 0

    def __call__(self, request: FitRequest) -> "CountingLearner":
        self.fits += 1
        self.clock[0] += 1.0
        return replace(self, offset=float(request.labels.mean()) + self.offset, fits=0)

    def predict(self, matrix: Floats) -> Floats:
        return np.full(len(matrix), self.offset)

    def to_model(self, description: ModelDescription) -> LinearModel:
        self.clock[0] += 1.0
        return LinearModel(description, np.zeros(2), np.ones(2), np.array([1.0, self.offset]), self.offset)


@dataclass
class Desk:
    """A trainer whose fits are kept."""

    folder: Path
    context: dict[str, str] = field(default_factory=lambda: {"code_digest": "c"})
    is_audited: Callable[[str], bool] = lambda _key: False
    clock: list[float] = field(default_factory=lambda: [0.0])

    def __post_init__(self) -> None:
        self.learner = CountingLearner(self.clock)
        self.recall = Recall(
            FileFitResults(self.folder), self.context, self.is_audited, lambda: self.clock[0]
        )
        self.load = recalling(self._learner, self.recall)

    def _learner(self, entry: CatalogueEntry) -> Learner:
        return self.learner

    def predict(
        self, request: FitRequest = REQUEST, matrix: Floats = MATRIX, entry: CatalogueEntry = ENTRY
    ) -> Floats:
        return self.load(entry)(request).predict(matrix)


def test_an_equal_fit_of_another_attempt_is_recalled_and_charged_as_it_once_cost(tmp_path: Path) -> None:
    first = Desk(tmp_path)
    expected = first.predict()
    second = Desk(tmp_path)

    again = second.predict(replace(REQUEST, parameters={"depth": 3, "alpha": 0.5}, matrix=MATRIX.copy("F")))

    assert again.tobytes() == expected.tobytes()
    assert (first.learner.fits, second.learner.fits) == (1, 0)
    assert (second.recall.meter.recalled, second.recall.meter.saved_cpu_seconds) == (1, 1.0)
    assert second.recall.charged_cpu_seconds() == first.recall.charged_cpu_seconds() == 1.0


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"labels": np.arange(6.0) + 1e-9}, id="labels"),
        pytest.param({"matrix": MATRIX * (1 + 1e-15)}, id="matrix"),
        pytest.param({"parameters": {"alpha": 0.5, "depth": 4}}, id="parameters"),
        pytest.param({"horizon_bars": 6}, id="horizon"),
        pytest.param({"seed": 8}, id="seed"),
    ],
)
def test_a_fit_that_differs_in_anything_is_computed(tmp_path: Path, changes: dict[str, Any]) -> None:
    Desk(tmp_path).predict()
    second = Desk(tmp_path)

    second.predict(replace(REQUEST, **changes))

    assert second.learner.fits == 1


def test_other_code_another_entry_and_other_rows_are_computed(tmp_path: Path) -> None:
    Desk(tmp_path).predict()

    code, entry, rows = Desk(tmp_path, {"code_digest": "d"}), Desk(tmp_path), Desk(tmp_path)
    code.predict()
    entry.predict(entry=CATALOGUE[1])
    rows.predict(matrix=MATRIX[:5])

    assert [desk.learner.fits for desk in (code, entry, rows)] == [1, 1, 1]


def test_a_request_that_cannot_be_named_is_computed_each_time(tmp_path: Path) -> None:
    odd: Any = {"callback": print}

    desk = Desk(tmp_path)
    for _ in range(2):
        desk.predict(replace(REQUEST, parameters=odd))

    assert desk.learner.fits == 2


def test_an_audited_result_that_differs_is_counted_and_replaced(tmp_path: Path) -> None:
    Desk(tmp_path).predict()
    auditor = Desk(tmp_path, is_audited=lambda _key: True)
    auditor.learner.offset = 1e-12

    truth = auditor.predict()

    assert (auditor.recall.meter.audited, auditor.recall.meter.mismatched) == (1, 1)
    assert auditor.recall.meter.saved_cpu_seconds == 0.0
    assert Desk(tmp_path).predict().tobytes() == truth.tobytes()


def test_an_audited_result_that_is_repeated_counts_no_mismatch(tmp_path: Path) -> None:
    Desk(tmp_path).predict()
    auditor = Desk(tmp_path, is_audited=lambda _key: True)

    auditor.predict()

    assert (auditor.recall.meter.audited, auditor.recall.meter.mismatched) == (1, 0)


def test_the_model_of_an_equal_fit_is_recalled_under_the_description_of_who_asks(tmp_path: Path) -> None:
    first, second = Desk(tmp_path), Desk(tmp_path)
    expected = first.load(ENTRY)(REQUEST).to_model(OTHER)

    first.load(ENTRY)(REQUEST).to_model(DESCRIPTION)
    again = second.load(ENTRY)(REQUEST).to_model(OTHER)

    assert again.to_files() == expected.to_files()
    assert (first.learner.fits, second.learner.fits) == (1, 0)
    assert second.recall.charged_cpu_seconds() == 2.0


def test_what_is_predicted_after_the_model_was_made_is_kept_although_it_alone_is_cheap(
    tmp_path: Path,
) -> None:
    first, second = Desk(tmp_path), Desk(tmp_path)

    for desk in (first, second):
        fit = desk.load(ENTRY)(REQUEST)
        fit.to_model(DESCRIPTION)
        fit.predict(MATRIX)

    assert (first.learner.fits, second.learner.fits) == (1, 0)
    assert second.recall.meter.recalled == 2


def test_an_audited_model_that_differs_is_counted(tmp_path: Path) -> None:
    Desk(tmp_path).load(ENTRY)(REQUEST).to_model(DESCRIPTION)
    same, other = (Desk(tmp_path, is_audited=lambda _key: True) for _ in range(2))
    other.learner.offset = 1e-12

    same.load(ENTRY)(REQUEST).to_model(OTHER)
    other.load(ENTRY)(REQUEST).to_model(OTHER)

    assert [desk.recall.meter.mismatched for desk in (same, other)] == [0, 1]


@pytest.mark.parametrize("kept", [0, 20, -1], ids=["empty", "cut off", "altered"])
def test_a_damaged_result_is_no_result(tmp_path: Path, kept: int) -> None:
    expected = Desk(tmp_path).predict()
    (path,) = tmp_path.glob("*/*.fit")
    content = path.read_bytes()
    path.write_bytes(content[:kept] if kept >= 0 else content[:-1] + bytes([content[-1] ^ 1]))

    second = Desk(tmp_path)
    again = second.predict()

    assert second.learner.fits == 1
    assert again.tobytes() == expected.tobytes()


def test_what_saves_least_per_byte_is_forgotten_first(tmp_path: Path) -> None:
    results = FileFitResults(tmp_path)
    for number, cpu_seconds in enumerate((5.0, 0.1, 9.0)):
        results.keep(f"{number}{'a' * 63}", Recalled(np.zeros(100), cpu_seconds))
    size = next(tmp_path.glob("*/*.fit")).stat().st_size
    now_s = next(tmp_path.glob("*/*.fit")).stat().st_mtime

    forgotten = results.prune(2 * size, now_s)

    assert forgotten == 1
    assert results.find(f"1{'a' * 63}") is None


def test_a_hanging_leader_is_waited_for_no_longer_than_patience(tmp_path: Path) -> None:
    times = iter([0.0, 0.5, 1.0])
    leader = FileFitResults(tmp_path)
    other = FileFitResults(tmp_path, 1.0, sleep=lambda _s: None, monotonic=lambda: next(times))

    with leader.lead("k") as first, other.lead("k") as second:
        led = (first, second)

    assert led == (True, False)


LEADER = """
import sys
from pathlib import Path
from mltrainer_trainer.adapters.fit_results import FileFitResults
with FileFitResults(Path(sys.argv[1])).lead("k"):
    print("leads", flush=True)
    sys.stdin.read()
"""


def test_a_leader_that_dies_is_replaced(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LEADER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as leader:
        assert leader.stdout
        assert leader.stdout.readline() == b"leads\n"

        leader.kill()

    with FileFitResults(tmp_path).lead("k") as leads:
        assert leads
