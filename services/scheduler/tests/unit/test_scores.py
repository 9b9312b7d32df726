from collections.abc import Callable

import pytest
from mltrainer.trainer.v1.resources_pb2 import AttemptResult, LeaderboardRow
from mltrainer.types.v1.types_pb2 import VERDICT_EDGE, VERDICT_NO_EDGE, Metric
from mltrainer_scheduler.wire.scores import scores_digest


def _result() -> AttemptResult:
    chosen = LeaderboardRow(catalogue_id="ridge", metrics=[Metric(name="r2", value=0.5)], chosen=True)
    chosen.folds.add(row_count=10).metrics.add(name="r2", value=0.25)
    return AttemptResult(
        catalogue_id="ridge",
        metrics=[Metric(name="r2", value=0.5, standard_error=0.1)],
        leaderboard=[chosen, LeaderboardRow(catalogue_id="mean")],
        verdict=VERDICT_EDGE,
        cpu_seconds=3.0,
        study_trial_count=8,
        row_count=10,
    )


def _set_metric(result: AttemptResult) -> None:
    result.metrics[0].value = 0.5000000000000001


def _set_error(result: AttemptResult) -> None:
    result.metrics[0].standard_error = 0.2


def _set_fold(result: AttemptResult) -> None:
    result.leaderboard[0].folds[0].metrics[0].value = 0.26


def _set_rows(result: AttemptResult) -> None:
    result.row_count = 11


@pytest.mark.parametrize("change", [_set_metric, _set_error, _set_fold, _set_rows])
def test_another_score_is_another_digest(change: Callable[[AttemptResult], None]) -> None:
    changed = _result()

    change(changed)

    assert scores_digest(changed) != scores_digest(_result())


def test_time_verdict_and_models_that_were_not_chosen_do_not_count() -> None:
    other = _result()
    other.cpu_seconds, other.study_trial_count, other.verdict = 4.0, 16, VERDICT_NO_EDGE
    del other.leaderboard[1]

    assert scores_digest(other) == scores_digest(_result())


def test_a_result_without_scores_has_no_digest() -> None:
    assert scores_digest(AttemptResult(canonical_digest="m")) == ""
