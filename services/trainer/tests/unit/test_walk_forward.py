import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from mltrainer_trainer.domain.walk_forward import EvaluationPlan, validation_folds, walk_forward_folds

DAY = 86_400_000_000


@st.composite
def panels(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Event and label end times of rows with gaps, several symbols and labels of uneven length."""
    dates = np.cumsum(draw(st.lists(st.integers(1, 4), min_size=5, max_size=80))) * DAY
    seed = draw(st.integers(0, 1_000))
    random = np.random.default_rng(seed)
    event_time = np.repeat(dates, draw(st.integers(1, 3)))
    event_time = event_time[random.random(len(event_time)) < 0.9]
    label_end_time = event_time + random.integers(1, 15, len(event_time)) * DAY
    return event_time, label_end_time


plans = st.builds(
    EvaluationPlan,
    first_test_time=st.integers(0, 250).map(lambda day: day * DAY),
    refit_interval_bars=st.integers(1, 30),
    embargo_bars=st.integers(0, 10),
)


@settings(max_examples=200)
@given(panel=panels(), plan=plans)
def test_no_label_that_is_trained_on_reaches_into_the_test(
    panel: tuple[np.ndarray, np.ndarray], plan: EvaluationPlan
) -> None:
    event_time, label_end_time = panel

    for fold in walk_forward_folds(event_time, label_end_time, plan):
        assert (event_time[fold.train] < event_time[fold.test].min()).all()
        assert (label_end_time[fold.train] < event_time[fold.test].min()).all()


@settings(max_examples=200)
@given(panel=panels(), plan=plans)
def test_every_row_from_the_first_test_on_is_tested_once(
    panel: tuple[np.ndarray, np.ndarray], plan: EvaluationPlan
) -> None:
    event_time, label_end_time = panel

    folds = walk_forward_folds(event_time, label_end_time, plan)

    tested = np.concatenate([fold.test for fold in folds]) if folds else np.empty(0, dtype=int)
    assert tested.tolist() == np.flatnonzero(event_time >= plan.first_test_time).tolist()
    for fold in folds:
        assert len(np.unique(event_time[fold.test])) <= plan.refit_interval_bars


@settings(max_examples=200)
@given(panel=panels(), plan=plans, validation_bars=st.integers(1, 50))
def test_choosing_a_model_sees_nothing_of_the_test(
    panel: tuple[np.ndarray, np.ndarray], plan: EvaluationPlan, validation_bars: int
) -> None:
    event_time, label_end_time = panel

    for fold in validation_folds(event_time, label_end_time, plan, validation_bars):
        assert (label_end_time[fold.train] < event_time[fold.test].min()).all()
        assert (label_end_time[fold.test] < plan.first_test_time).all()


@given(panel=panels(), plan=plans)
def test_the_embargo_leaves_that_many_dates_out(
    panel: tuple[np.ndarray, np.ndarray], plan: EvaluationPlan
) -> None:
    event_time, label_end_time = panel
    dates = np.unique(event_time)

    for fold in walk_forward_folds(event_time, label_end_time, plan):
        start = event_time[fold.test].min()
        between = dates[(dates > label_end_time[fold.train].max(initial=0)) & (dates < start)]
        assert not len(fold.train) or len(between) >= min(plan.embargo_bars, (dates < start).sum() - 1)


def test_training_data_grows_from_fold_to_fold() -> None:
    event_time = np.arange(100) * DAY
    plan = EvaluationPlan(first_test_time=60 * DAY, refit_interval_bars=15, embargo_bars=3)

    folds = walk_forward_folds(event_time, event_time + 5 * DAY, plan)

    assert [len(fold.train) for fold in folds] == [52, 67, 82]
    assert [len(fold.test) for fold in folds] == [15, 15, 10]
