import pytest
from mltrainer_features import (
    EVENT_TIMES,
    ON_DEMAND_VIEWS,
    UNIT_MEANINGS,
    VIEWS,
    FeatureDefinition,
    full_description,
)
from mltrainer_features.definitions import Unit

STORED = [feature for view in VIEWS.values() for feature in view.features]


@pytest.mark.parametrize("feature", STORED, ids=lambda feature: feature.name)
def test_every_feature_says_what_it_measures_in_which_unit_and_of_which_time(
    feature: FeatureDefinition,
) -> None:
    text = full_description(feature)

    assert text.startswith(feature.description)
    assert feature.description.endswith(".")
    assert UNIT_MEANINGS[feature.unit] in text
    assert text.endswith("closes of bars, in UTC.")


def test_every_unit_is_told_in_words() -> None:
    assert set(UNIT_MEANINGS) == set(Unit)
    assert all(meaning for meaning in UNIT_MEANINGS.values())
    assert "UTC" in EVENT_TIMES


def test_on_demand_features_and_what_they_read_are_described() -> None:
    described = [one for view in ON_DEMAND_VIEWS.values() for one in (*view.request_fields, *view.features)]

    assert [one.name for one in described if not one.description.endswith(".")] == []
    assert all(one.unit in UNIT_MEANINGS for one in described)
