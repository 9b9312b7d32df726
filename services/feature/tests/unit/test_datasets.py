from dataclasses import replace

import pytest
from mltrainer_feature.domain.datasets import (
    DatasetSpec,
    ViewRevision,
    dataset_name,
    partition,
    validated_spec,
)
from mltrainer_feature.domain.errors import AsOfInFutureError, InvalidDatasetSpecError
from mltrainer_feature.domain.rows import EventRange
from mltrainer_features import TargetKind

from .quotes import day

SPEC = DatasetSpec(("B", "A"), ("market_returns",), day(10), TargetKind.LOG_REALIZED_VARIANCE, 5)
VIEW = ViewRevision("market_returns", 1, "digest", 1)


def test_every_wrong_field_is_named_at_once() -> None:
    wrong = DatasetSpec(("A", "no symbol"), (), None, None, 0)

    with pytest.raises(InvalidDatasetSpecError) as caught:
        validated_spec(wrong, day(11))

    assert {violation.field for violation in caught.value.violations} == {
        "spec.symbols[1]",
        "spec.feature_views",
        "spec.as_of",
        "spec.target.kind",
        "spec.target.horizon_bars",
    }


def test_an_empty_universe_and_a_reversed_span_are_refused() -> None:
    wrong = replace(SPEC, symbols=(), start_time=day(11))

    with pytest.raises(InvalidDatasetSpecError) as caught:
        validated_spec(wrong, day(11))

    assert [violation.field for violation in caught.value.violations] == ["spec.symbols", "spec.start_time"]


def test_knowledge_of_tomorrow_is_refused() -> None:
    with pytest.raises(AsOfInFutureError):
        validated_spec(SPEC, day(9))


def test_equal_specifications_have_equal_names() -> None:
    other_order = validated_spec(replace(SPEC, symbols=("A", "B", "A")), day(11))

    assert dataset_name(SPEC, [VIEW], "layout") == dataset_name(other_order, [VIEW], "layout")


@pytest.mark.parametrize(
    "changed",
    [
        replace(SPEC, symbols=("A",)),
        replace(SPEC, as_of=day(9)),
        replace(SPEC, start_time=day(1)),
        replace(SPEC, target_kind=TargetKind.DIRECTION),
        replace(SPEC, horizon_bars=6),
    ],
    ids=["symbols", "as_of", "start", "kind", "horizon"],
)
def test_other_specifications_have_other_names(changed: DatasetSpec) -> None:
    assert dataset_name(SPEC, [VIEW], "layout") != dataset_name(changed, [VIEW], "layout")


def test_revised_views_give_other_names() -> None:
    assert dataset_name(SPEC, [VIEW], "layout") != dataset_name(
        SPEC, [replace(VIEW, data_revision=2)], "layout"
    )


def test_event_times_are_cut_into_parts_and_none_is_cut_in_two() -> None:
    counts = [(day(0), 3), (day(1), 2), (day(2), 9), (day(3), 1), (day(4), 4), (day(5), 1)]

    assert partition(counts, 5) == [
        EventRange(day(0), day(1)),
        EventRange(day(2), day(2)),
        EventRange(day(3), day(4)),
        EventRange(day(5), day(5)),
    ]
    assert partition([], 5) == []
