import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_features import TargetKind, feature_names
from mltrainer_trainer.adapters.estimators import load_learner, unavailable_reason
from mltrainer_trainer.domain.catalogue import (
    CATALOGUE,
    CatalogueEntry,
    UnknownModelError,
    catalogue_digest,
    select_entries,
)

ENTRIES = pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.id)


def test_ids_are_unique() -> None:
    assert len({entry.id for entry in CATALOGUE}) == len(CATALOGUE)


@ENTRIES
def test_every_entry_loads_and_reads_features_that_exist(entry: CatalogueEntry) -> None:
    assert unavailable_reason(entry) == ""
    assert callable(load_learner(entry))
    assert entry.missing_features(feature_names()) == ()


@ENTRIES
@given(seed=st.integers(0, 2**32 - 1))
def test_drawn_parameters_lie_in_their_range_and_repeat(entry: CatalogueEntry, seed: int) -> None:
    drawn = entry.draw_parameters(np.random.default_rng(seed))

    assert drawn == entry.draw_parameters(np.random.default_rng(seed))
    assert set(drawn) >= set(entry.defaults)
    for name, space in entry.search_space.items():
        value = drawn[name]
        assert isinstance(value, int if space.whole else float)
        assert space.low <= value <= space.high


def test_baselines_of_the_target_are_always_selected() -> None:
    selected = [entry.id for entry in select_entries(["ridge"], TargetKind.LOG_REALIZED_VARIANCE)]

    assert selected == ["persistence", "har", "ridge"]


def test_a_family_selects_its_members() -> None:
    selected = [entry.id for entry in select_entries(["linear"], TargetKind.EXCESS_RETURN)]

    assert selected == ["zero", "mean", "ridge", "elastic-net"]


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(UnknownModelError) as caught:
        select_entries(["ridge", "oracle"], TargetKind.DIRECTION)

    assert caught.value.name == "oracle"


def test_the_digest_covers_every_entry() -> None:
    assert len({entry.digest for entry in CATALOGUE}) == len(CATALOGUE)
    assert len(catalogue_digest()) == 64
