"""Losses by day: one spelling, and nothing else is read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_models import ArtifactError, DailyLoss, LossKind, ModelEvaluation, read_evaluation
from mltrainer_models.canonical import encode_canonical

LOSSES = st.lists(
    st.builds(
        DailyLoss,
        st.integers(0, 60_000),
        st.floats(-1e300, 1e300, allow_nan=False),
        st.integers(1, 10_000),
    ),
    unique_by=lambda one: one.day,
).map(lambda found: tuple(sorted(found, key=lambda one: one.day)))
EVALUATION = ModelEvaluation(("A", "B"), 4, (DailyLoss(10, 0.5, 2), DailyLoss(11, 0.25, 2)))


@given(st.builds(ModelEvaluation, st.just(("A",)), st.integers(0, 50), LOSSES, st.sampled_from(LossKind)))
def test_losses_survive_a_round_trip(evaluation: ModelEvaluation) -> None:
    assert read_evaluation(evaluation.to_bytes()) == evaluation


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"format_version": 2}, id="later format"),
        pytest.param({"loss": "absolute_error"}, id="other loss"),
        pytest.param({"overlap_days": -1}, id="negative overlap"),
        pytest.param({"days": {"day": [11, 10], "loss": [1.0, 1.0], "rows": [1, 1]}}, id="days go back"),
        pytest.param({"days": {"day": [10], "loss": [], "rows": []}}, id="uneven columns"),
        pytest.param({"days": {"day": ["x"], "loss": [1.0], "rows": [1]}}, id="no number"),
        pytest.param({"days": [1]}, id="no columns"),
        pytest.param({"symbols": 3}, id="no symbols"),
    ],
)
def test_other_bytes_are_refused(change: dict[str, object]) -> None:
    document = json.loads(EVALUATION.to_bytes()) | change

    with pytest.raises(ArtifactError):
        read_evaluation(encode_canonical(document))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"{", EVALUATION.to_bytes() + b" "])
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        read_evaluation(data)
