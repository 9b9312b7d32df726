import hashlib
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mltrainer.trainer.v1.resources_pb2 import CatalogueEntry as CatalogueMessage
from mltrainer_features import TargetKind, feature_names
from mltrainer_trainer.adapters.estimators import load_batch_learner, load_learner, unavailable_reason
from mltrainer_trainer.adapters.model_release import released_models
from mltrainer_trainer.domain.catalogue import (
    CATALOGUE,
    CATALOGUE_EXTRA,
    CatalogueEntry,
    Choice,
    UniformRange,
    UnknownModelError,
    catalogue_digest,
    find_entry,
    select_entries,
)
from mltrainer_trainer.domain.release import CodeIdentity, Release
from mltrainer_trainer.wire.events import to_event

FIRST = (
    "zero",
    "mean",
    "persistence",
    "har",
    "ridge",
    "elastic-net",
    "random-forest",
    "hist-gradient-boosting",
)
FIRST_DIGEST = "d881f2f7b3e5b7425215c5ba9b3257e48f8c542bf32285e51b8263a58127bb04"
CORE = [entry for entry in CATALOGUE if entry.extra != CATALOGUE_EXTRA]
BY_LIBRARY = {entry.package: entry for entry in CATALOGUE if entry.extra == CATALOGUE_EXTRA}


def test_ids_are_unique_and_no_family_is_called_like_a_model() -> None:
    ids = [entry.id for entry in CATALOGUE]

    assert len(set(ids)) == len(ids)
    assert set(ids).isdisjoint({entry.family for entry in CATALOGUE})


@pytest.mark.parametrize("entry", CORE, ids=lambda entry: entry.id)
def test_every_entry_of_the_core_loads_and_reads_features_that_exist(entry: CatalogueEntry) -> None:
    assert unavailable_reason(entry) == ""
    assert callable(load_learner(entry) if entry.serves_row_by_row else load_batch_learner(entry))
    assert entry.missing_features(feature_names()) == ()


@pytest.mark.parametrize("package", BY_LIBRARY)
def test_an_entry_without_its_library_says_how_to_install_it(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    entry = replace(BY_LIBRARY[package], import_path=f"{package}.absent:Model")

    reason = unavailable_reason(entry)

    assert package in reason
    assert "pip install 'mltrainer-trainer[catalogue]'" in reason


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_drawn_parameters_lie_in_their_range_and_repeat(seed: int) -> None:
    for entry in CATALOGUE:
        drawn = entry.draw_parameters(np.random.default_rng(seed))

        assert drawn == entry.draw_parameters(np.random.default_rng(seed))
        assert set(drawn) >= set(entry.defaults)
        for name, space in entry.search_space.items():
            match space:
                case Choice():
                    assert drawn[name] in space.values
                case UniformRange():
                    assert isinstance(drawn[name], int if space.whole else float)
                    assert space.low <= drawn[name] <= space.high


def test_entries_that_came_first_keep_their_digests() -> None:
    digests = "".join(find_entry(name).digest for name in FIRST)

    assert hashlib.sha256(digests.encode()).hexdigest() == FIRST_DIGEST


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


def test_the_event_that_tells_schedulers_the_catalogue_is_small() -> None:
    release = Release("trainers/local", CodeIdentity("c" * 64, "e" * 64), released_models(), 1)

    event = to_event(release)

    assert len(event.catalogue_entries) == len(CATALOGUE) >= 140
    assert event.ByteSize() < 150_000
    by_id = {entry.id: entry for entry in event.catalogue_entries}
    assert by_id["garch"].task == CatalogueMessage.TASK_VOLATILITY
    assert not by_id["garch"].serves_row_by_row
    assert by_id["svr"].serves_row_by_row
