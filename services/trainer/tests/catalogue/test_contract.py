"""What every model of the catalogue must do on a slice of the bundled prices."""

import pickle
from pathlib import PurePath
from typing import NoReturn

import numpy as np
import pytest
from mltrainer_models import (
    ArtifactError,
    BatchOnlyError,
    ModelDescription,
    ModelTarget,
    load_predictor,
    read_library_model,
    save_model,
)
from mltrainer_models.canonical import decode_canonical, encode_canonical
from mltrainer_models.library_state import STATE_FILE
from mltrainer_testkit.catalogue_slices import HORIZON_BARS, Slice, slice_for
from mltrainer_trainer.adapters.estimators import load_batch_learner, load_batch_predictor, load_learner
from mltrainer_trainer.domain.catalogue import CATALOGUE, CatalogueEntry, Task, find_entry
from mltrainer_trainer.domain.learners import BadTrainingInputError, BatchFit, Fit, FitRequest

pytestmark = [pytest.mark.catalogue, pytest.mark.timeout(120)]

# XGBoost adds up in 32 bits what our trees and linear models add up in 64.
_TOLERANCE = {"xgboost": 1e-5}
_SINGLE_ROWS = 10


def fit(entry: CatalogueEntry, request: FitRequest) -> Fit | BatchFit:
    return load_learner(entry)(request) if entry.serves_row_by_row else load_batch_learner(entry)(request)


def describe(entry: CatalogueEntry, data: Slice) -> ModelDescription:
    kind = entry.target_kinds[0].value if entry.target_kinds else entry.task.value
    parameters = {**entry.fixed, **entry.defaults}
    return ModelDescription(entry.id, ModelTarget(kind, HORIZON_BARS), data.feature_names, parameters)


def refuse(*_arguments: object, **_more: object) -> NoReturn:
    raise AssertionError("a pickle was read")


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.id)
def test_a_model_trains_saves_loads_refits_and_refuses(
    entry: CatalogueEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = slice_for(entry)
    assert len(data.matrix) >= min(entry.min_rows, 60)

    fitted = fit(entry, data.request(entry))
    artifact = save_model(fitted.to_model(describe(entry, data)))
    predicted = fitted.predict(data.check_matrix)

    assert predicted.shape == (len(data.check_matrix),)
    assert np.isfinite(predicted).all()
    by_library = getattr(fitted, "by_library", fitted.predict)(data.check_matrix)
    tolerance = _TOLERANCE.get(entry.adapter, 1e-9)
    np.testing.assert_allclose(predicted, by_library, rtol=tolerance, atol=tolerance)
    assert {PurePath(name).suffix for name in artifact.files} <= {".json", ".npy"}
    with monkeypatch.context() as patch:
        patch.setattr(pickle, "loads", refuse)
        patch.setattr(pickle, "load", refuse)
        patch.setattr(pickle, "Unpickler", refuse)
        if entry.serves_row_by_row:
            predictor = load_predictor(artifact)
            loaded = predictor.predict(data.check_matrix)
            alone = [predictor.predict(data.check_matrix[[row]]) for row in range(_SINGLE_ROWS)]
            assert np.concatenate(alone).tobytes() == loaded[:_SINGLE_ROWS].tobytes()
        else:
            loaded = load_batch_predictor(artifact, entry).predict(data.check_matrix)
            with pytest.raises(BatchOnlyError):
                load_predictor(artifact)
    assert loaded.tobytes() == predicted.tobytes()
    if entry.is_deterministic:
        again = fit(entry, data.request(entry, threads=2)).to_model(describe(entry, data))
        assert save_model(again).canonical_digest == artifact.canonical_digest
    broken = data.request(entry)
    broken.matrix[7, 0] = np.nan
    with pytest.raises(BadTrainingInputError, match="row 7, column 0 is not finite"):
        fit(entry, broken)


@pytest.mark.parametrize(
    "task", [Task.CLASSIFICATION, Task.ANOMALY, Task.VOLATILITY], ids=lambda task: task.value
)
def test_predictions_mean_what_the_task_says(task: Task) -> None:
    for entry in (entry for entry in CATALOGUE if entry.task is task):
        data = slice_for(entry)
        predicted = fit(entry, data.request(entry)).predict(data.check_matrix)

        if task is Task.CLASSIFICATION:
            assert ((predicted >= 0) & (predicted <= 1)).all(), entry.id
        if task is Task.VOLATILITY:
            assert (predicted > 0).all(), entry.id


@pytest.mark.parametrize(
    "name", [entry.id for entry in CATALOGUE if entry.state_types], ids=lambda name: name
)
def test_a_type_that_the_entry_does_not_list_is_refused_before_any_library_sees_it(name: str) -> None:
    entry = find_entry(name)
    data = slice_for(entry)
    artifact = save_model(fit(entry, data.request(entry)).to_model(describe(entry, data)))

    with pytest.raises(ArtifactError, match="has no state of type"):
        read_library_model(artifact, entry.id, frozenset(entry.state_types[1:]))


def test_a_tree_that_points_outside_of_itself_is_refused() -> None:
    entry = find_entry("iforest-detector")
    data = slice_for(entry)
    artifact = save_model(fit(entry, data.request(entry)).to_model(describe(entry, data)))
    numbers = bytearray(artifact.files["int64.npy"])
    for place in range(128, len(numbers), 8):
        numbers[place : place + 8] = (1 << 40).to_bytes(8, "little")

    with pytest.raises(ArtifactError, match="not a state of 'iforest-detector'"):
        load_batch_predictor({**artifact.files, "int64.npy": bytes(numbers)}, entry)


def test_a_state_that_lacks_what_the_library_needs_is_refused() -> None:
    entry = find_entry("garch")
    data = slice_for(entry)
    files = dict(save_model(fit(entry, data.request(entry)).to_model(describe(entry, data))).files)
    document = decode_canonical(files[STATE_FILE])
    document["state"]["dict"] = [pair for pair in document["state"]["dict"] if pair[0] != "parameters"]

    with pytest.raises(ArtifactError, match="not a state of 'garch'"):
        load_batch_predictor({**files, STATE_FILE: encode_canonical(document)}, entry)
