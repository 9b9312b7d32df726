import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mltrainer_models import (
    ArtifactError,
    LinearModel,
    ModelArtifact,
    ModelDescription,
    ModelTarget,
    PredictionInputError,
    TreesModel,
    load_predictor,
    read_reference,
    save_model,
    summarise_reference,
)

FEATURES = ("log_variance_1", "log_variance_5", "return_1")
DESCRIPTION = ModelDescription(
    catalogue_id="test",
    target=ModelTarget("LOG_REALIZED_VARIANCE", 5),
    feature_names=FEATURES,
    parameters={"alpha": 0.5, "trees": 2, "note": "ü"},
    feature_views={"market_volatility": "ab" * 32},
)


def linear_model() -> LinearModel:
    return LinearModel(
        DESCRIPTION, np.array([1.0, 2.0, 0.1]), np.array([0.5, 2.0, 3.0]), np.array([0.3, -0.7, 1.1]), -8.0
    )


def trees_model(*, single_precision: bool = False) -> TreesModel:
    return TreesModel(
        description=DESCRIPTION,
        roots=np.array([0, 5], dtype=np.int32),
        feature=np.array([0, 0, 1, 0, 0, 2, 0, 0], dtype=np.int32),
        threshold=np.array([0.0, 0.0, 1.5, 0.0, 0.0, -1.0, 0.0, 0.0]),
        left=np.array([1, 1, 3, 3, 4, 6, 6, 7], dtype=np.int32),
        value=np.array([0.0, 0.25, 0.0, 1.0, 2.0, 0.0, -0.1, 0.3]),
        base=-8.0,
        divisor=1.0,
        depth=2,
        single_precision=single_precision,
    )


MODELS = pytest.mark.parametrize("build", [linear_model, trees_model])
rows_of_numbers = st.lists(st.tuples(*[st.floats(-1e6, 1e6) for _ in FEATURES]), min_size=1, max_size=40).map(
    np.array
)


def test_a_linear_model_standardises_before_it_weighs() -> None:
    predictor = load_predictor(save_model(linear_model()))

    prediction = predictor.predict([[1.5, 2.0, 3.1]])

    assert prediction == pytest.approx([-8.0 + 0.3 * 1.0 + 1.1 * 1.0])


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param([0.0, 9.0, 0.0], 0.25 + 0.3 - 8.0, id="equal-goes-left"),
        pytest.param([0.1, 1.5, -1.0], 1.0 - 0.1 - 8.0, id="left-on-the-second-level"),
        pytest.param([0.1, 1.6, -2.0], 2.0 - 0.1 - 8.0, id="right-twice"),
    ],
)
def test_a_tree_goes_right_where_the_feature_exceeds_the_threshold(row: list[float], expected: float) -> None:
    assert load_predictor(save_model(trees_model())).predict([row]) == pytest.approx([expected])


def test_single_precision_rounds_features_before_they_are_compared() -> None:
    barely_above = [1e-50, 1.5, 0.0]

    models = (trees_model(single_precision=flag) for flag in (False, True))
    double, single = (load_predictor(save_model(model)).predict([barely_above])[0] for model in models)

    assert (double, single) == pytest.approx((1.0 + 0.3 - 8.0, 0.25 + 0.3 - 8.0))


@MODELS
@settings(max_examples=50)
@given(matrix=rows_of_numbers)
def test_a_row_alone_and_in_a_batch_give_the_same_bits(
    build: Callable[[], LinearModel | TreesModel], matrix: np.ndarray
) -> None:
    predictor = load_predictor(save_model(build()))

    batch = predictor.predict(matrix)
    transposed = predictor.predict(np.asfortranarray(matrix))
    alone = np.concatenate([predictor.predict(row[np.newaxis]) for row in matrix])

    assert batch.tobytes() == alone.tobytes() == transposed.tobytes()


@MODELS
def test_saving_what_was_loaded_gives_the_same_bytes(build: Callable[[], LinearModel | TreesModel]) -> None:
    artifact = save_model(build())

    predictor = load_predictor(artifact)

    assert predictor.description == DESCRIPTION
    assert predictor.model.to_files() == artifact.files


@MODELS
def test_arrays_are_readable_by_numpy(build: Callable[[], LinearModel | TreesModel]) -> None:
    for name, data in save_model(build()).files.items():
        if name.endswith(".npy"):
            assert np.load(io.BytesIO(data), allow_pickle=False).ndim == 1


@MODELS
def test_a_row_with_a_missing_feature_has_no_prediction(
    build: Callable[[], LinearModel | TreesModel],
) -> None:
    predictor = load_predictor(save_model(build()))

    predictions = predictor.predict([[1.0, 1.0, 1.0], [1.0, np.nan, 1.0], [np.inf, 1.0, 1.0]])

    assert np.isnan(predictions).tolist() == [False, True, True]


@MODELS
def test_no_rows_have_no_predictions(build: Callable[[], LinearModel | TreesModel]) -> None:
    assert load_predictor(save_model(build())).predict(np.empty((0, 3))).shape == (0,)


@pytest.mark.parametrize("shape", [(3,), (1, 2), (1, 4), (1, 1, 3)])
def test_a_matrix_of_another_width_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(PredictionInputError, match="3 features"):
        load_predictor(save_model(linear_model())).predict(np.zeros(shape))


def test_the_canonical_digest_leaves_the_training_summary_out() -> None:
    plain = save_model(linear_model())
    reference = summarise_reference(FEATURES, np.arange(30.0).reshape(10, 3), np.arange(10.0))
    with_summary = save_model(linear_model(), reference.to_bytes())

    assert plain.canonical_digest == with_summary.canonical_digest
    assert plain.manifest.digest != with_summary.manifest.digest
    assert read_reference(with_summary.files["reference.json"]) == reference
    assert load_predictor(with_summary).feature_names == FEATURES


def test_a_changed_number_changes_both_digests() -> None:
    artifact = save_model(linear_model())
    other = linear_model()
    other.coefficients[0] = np.nextafter(0.3, 1)

    changed = save_model(other)

    assert changed.canonical_digest != artifact.canonical_digest
    assert changed.manifest.digest != artifact.manifest.digest


@pytest.mark.parametrize(
    ("change", "file"),
    [
        pytest.param({"mean.npy": b"x"}, "mean.npy", id="changed"),
        pytest.param({"extra.npy": b"x"}, "extra.npy", id="added"),
    ],
)
def test_verification_names_the_file(change: dict[str, bytes], file: str) -> None:
    artifact = save_model(linear_model())

    with pytest.raises(ArtifactError) as caught:
        ModelArtifact(dict(artifact.files) | change).verify(artifact.manifest)

    assert caught.value.file == file


def test_verification_finds_a_missing_file() -> None:
    artifact = save_model(linear_model())

    with pytest.raises(ArtifactError, match="missing"):
        ModelArtifact({"model.json": artifact.files["model.json"]}).verify(artifact.manifest)
