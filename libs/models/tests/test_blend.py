from collections.abc import Mapping

import numpy as np
import pytest
from mltrainer_models import (
    ArtifactError,
    GrownTree,
    LinearModel,
    ModelDescription,
    ModelTarget,
    load_predictor,
    pack_trees,
)
from mltrainer_models.blend import BlendModel

TARGET = ModelTarget("LOG_REALIZED_VARIANCE", 5)


def description_of(catalogue_id: str, *features: str) -> ModelDescription:
    return ModelDescription(catalogue_id, TARGET, features)


def blend_of_two() -> BlendModel:
    one, zero = np.ones(1), np.zeros(1)
    linear = LinearModel(description_of("har", "b"), zero, one, 2.0 * one, 0.5)
    stump = GrownTree(
        feature=np.array([0, 0, 0]),
        threshold=np.array([0.0, 0.0, 0.0]),
        left=np.array([1, -1, -1]),
        right=np.array([2, -1, -1]),
        value=np.array([0.0, -1.0, 1.0]),
    )
    trees = pack_trees(description_of("lightgbm", "a", "b"), [stump])
    return BlendModel(description_of("ensemble", "a", "b"), (linear, trees), np.array([0.25, 0.75]), 0.1)


def changed(change: Mapping[str, bytes | None]) -> dict[str, bytes]:
    files = {**blend_of_two().to_files(), **change}
    return {name: content for name, content in files.items() if content is not None}


def test_a_blend_sums_its_parts_each_with_its_own_columns() -> None:
    matrix = np.array([[1.0, 2.0], [-1.0, 3.0]])

    predictions = load_predictor(blend_of_two().to_artifact()).predict(matrix)

    assert predictions.tolist() == pytest.approx([0.1 + 0.25 * 4.5 + 0.75, 0.1 + 0.25 * 6.5 - 0.75])


def test_a_row_alone_gets_the_bits_it_gets_in_a_batch() -> None:
    matrix = np.random.default_rng(1).normal(size=(50, 2))
    predictor = load_predictor(blend_of_two().to_artifact())

    alone = np.concatenate([predictor.predict(row[np.newaxis]) for row in matrix])

    assert alone.tobytes() == predictor.predict(matrix).tobytes()


def test_loading_changes_nothing() -> None:
    files = blend_of_two().to_files()

    again = load_predictor(files)

    assert again.model.to_files() == files


@pytest.mark.parametrize(
    ("change", "file"),
    [
        pytest.param({"weights.npy": None}, "weights.npy", id="no-weights"),
        pytest.param({"part-0.model.json": None}, "model.json", id="part-without-description"),
        pytest.param({"part-2.model.json": b"{}"}, "part-2.model.json", id="more-parts-than-weights"),
        pytest.param({"part-0.reference.json": b"{}"}, "part-0.reference.json", id="companion-of-a-part"),
        pytest.param({"strange": b""}, "strange", id="unknown-file"),
        pytest.param(
            {f"part-1.{name}": None for name in ("roots.npy", "scaling.npy")}, "roots.npy", id="part-cut-off"
        ),
    ],
)
def test_files_that_are_no_blend_are_refused_by_name(change: Mapping[str, bytes | None], file: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        load_predictor(changed(change))

    assert caught.value.file == file


def test_a_part_reads_only_columns_that_the_blend_has() -> None:
    blend = blend_of_two()
    narrow = BlendModel(description_of("ensemble", "a"), blend.parts, blend.weights, 0.0)

    with pytest.raises(ArtifactError, match="reads 'b'"):
        load_predictor(narrow.to_files())


def test_a_blend_of_blends_is_refused() -> None:
    inner = blend_of_two()
    outer = BlendModel(inner.description, (inner,), np.ones(1), 0.0)

    with pytest.raises(ArtifactError):
        load_predictor(outer.to_files())
