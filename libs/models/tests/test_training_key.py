from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from mltrainer_models.computation_key import computation_key
from mltrainer_models.training_key import (
    CatalogueModel,
    TrainingInputs,
    ViewRead,
    selected_models,
    training_computation,
)

KINDS = frozenset({"LOG_REALIZED_VARIANCE"})
RIDGE = CatalogueModel("ridge", "linear", "d1", KINDS)
LASSO = CatalogueModel("lasso", "linear", "d2", KINDS)
BROKEN = CatalogueModel("lightgbm", "trees", "d3", KINDS, is_available=False)
TRAINING = TrainingInputs(
    target_kind="LOG_REALIZED_VARIANCE",
    horizon_bars=5,
    symbols=("AAPL", "MSFT"),
    as_of=datetime(2020, 1, 2, 21, tzinfo=UTC),
    first_test_time=datetime(2015, 1, 1, tzinfo=UTC),
    refit_interval_bars=252,
    embargo_bars=5,
    max_trials=3,
    seed=1,
    cpu_seconds=60.0,
)
VIEW = ViewRead("vol", 1, "d", 0)


def key(training: TrainingInputs = TRAINING, **changes: Any) -> str:
    facts: dict[str, Any] = {
        "code_digest": "c",
        "environment_digest": "e",
        "models": (RIDGE, LASSO),
        "views": (VIEW,),
    }
    return computation_key(training_computation(training, **(facts | changes)))


def test_a_family_and_its_ids_select_the_same_models() -> None:
    by_family = selected_models(["linear"], "LOG_REALIZED_VARIANCE", [RIDGE, BROKEN, LASSO])
    by_id = selected_models(["ridge", "lasso", "linear"], "LOG_REALIZED_VARIANCE", [LASSO, RIDGE])

    assert by_family == by_id == (LASSO, RIDGE)


def test_models_that_cannot_be_fitted_are_not_selected() -> None:
    assert selected_models(["lightgbm", "ridge"], "LOG_REALIZED_VARIANCE", [RIDGE, BROKEN]) == (RIDGE,)
    assert selected_models(["ridge"], "DIRECTION", [RIDGE]) == ()


def test_order_and_time_zone_do_not_change_the_key() -> None:
    elsewhere = timezone(timedelta(hours=-5))
    same = replace(
        TRAINING,
        symbols=("MSFT", "AAPL"),
        as_of=TRAINING.as_of.astimezone(elsewhere),
        first_test_time=TRAINING.first_test_time.astimezone(elsewhere),
    )

    assert key(same, models=(LASSO, RIDGE)) == key()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"views": (replace(VIEW, data_revision=1),)}, id="restated data"),
        pytest.param({"views": (replace(VIEW, version=2),)}, id="other version"),
        pytest.param({"models": (RIDGE,)}, id="fewer models"),
        pytest.param({"models": (RIDGE, replace(LASSO, digest="d9"))}, id="changed model"),
        pytest.param({"code_digest": "c2"}, id="other code"),
        pytest.param({"training": replace(TRAINING, seed=2)}, id="other seed"),
        pytest.param({"training": replace(TRAINING, cpu_seconds=61.0)}, id="other budget"),
        pytest.param({"training": replace(TRAINING, refit_interval_bars=21)}, id="other refit"),
        pytest.param(
            {"training": replace(TRAINING, combinatorial_groups=6, combinatorial_test_groups=2)},
            id="combinatorial folds",
        ),
    ],
)
def test_whatever_can_change_the_result_changes_the_key(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()
