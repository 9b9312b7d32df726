import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mltrainer_models import (
    ArtifactError,
    Layer,
    LayersModel,
    LinearModel,
    ModelDescription,
    ModelTarget,
    TreesModel,
    load_predictor,
    read_reference,
    save_model,
)
from mltrainer_models.arrays import encode_array
from mltrainer_models.canonical import encode_canonical

DESCRIPTION = ModelDescription("test", ModelTarget("DIRECTION", 5), ("a", "b", "c"), {"alpha": 0.5})
LINEAR = LinearModel(DESCRIPTION, np.zeros(3), np.ones(3), np.array([0.3, -0.7, 1.1]), -8.0)
TREES = TreesModel(
    description=DESCRIPTION,
    roots=np.array([0, 5], dtype=np.int32),
    feature=np.array([0, 0, 1, 0, 0, 2, 0, 0], dtype=np.int32),
    threshold=np.zeros(8),
    left=np.array([1, 1, 3, 3, 4, 6, 6, 7], dtype=np.int32),
    value=np.arange(8.0),
    base=-8.0,
    divisor=1.0,
    depth=2,
    single_precision=False,
)
LAYERED = LayersModel(
    DESCRIPTION,
    (
        Layer("standardise", (np.zeros(3), np.ones(3))),
        Layer(
            "kernel",
            (np.eye(3),),
            (("degree", 2), ("function", "polynomial"), ("gamma", 0.5), ("offset", 1.0)),
        ),
        Layer("dense", (np.ones((1, 3)), np.zeros(1))),
    ),
)
ARTIFACTS = tuple(dict(save_model(model).files) for model in (LINEAR, TREES, LAYERED))
ROWS = np.array([[0.5, 1.0, -2.0], [1e6, -1e6, 0.0]])


def load_and_predict(files: dict[str, bytes]) -> None:
    """Anything but an ArtifactError, a crash included, fails the test."""
    try:
        predictor = load_predictor(files)
    except ArtifactError:
        return
    assert predictor.predict(np.zeros((2, len(predictor.feature_names)))).shape == (2,)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_changed_byte_ends_as_a_model_or_as_one_error(data: st.DataObject) -> None:
    files = dict(data.draw(st.sampled_from(ARTIFACTS)))
    name = data.draw(st.sampled_from(sorted(files)))
    content = bytearray(files[name])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    load_and_predict(files | {name: bytes(content)})


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_truncated_or_extended_file_is_refused(data: st.DataObject) -> None:
    files = dict(data.draw(st.sampled_from(ARTIFACTS)))
    name = data.draw(st.sampled_from(sorted(files)))
    cut = files[name][: data.draw(st.integers(0, len(files[name]) - 1))]
    forged = data.draw(st.sampled_from([cut, files[name] + b"\0", files[name] * 2, b""]))

    with pytest.raises(ArtifactError):
        load_predictor(files | {name: forged})


@given(content=st.binary(max_size=300))
@example(content=b"[" * 100_000)
@example(content=b'{"a":NaN}')
@example(content=b'{"a":1,"a":1}')
@example(content=b"{}")
def test_any_bytes_as_description_are_refused(content: bytes) -> None:
    with pytest.raises(ArtifactError):
        load_predictor(ARTIFACTS[0] | {"model.json": content})
    with pytest.raises(ArtifactError):
        read_reference(content)


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=["linear", "trees", "layers"])
def test_every_file_is_needed(artifact: dict[str, bytes]) -> None:
    for name in artifact:
        with pytest.raises(ArtifactError, match="missing"):
            load_predictor({other: data for other, data in artifact.items() if other != name})


def test_a_foreign_file_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"model\.pkl"):
        load_predictor(ARTIFACTS[0] | {"model.pkl": b"\x80\x04."})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param({"format_version": 2}, "format version 2", id="newer-format"),
        pytest.param({"format": "other"}, "format version", id="other-format"),
        pytest.param({"kind": "neural"}, "unknown kind", id="unknown-kind"),
        pytest.param({"preprocessing": "none"}, "unknown kind", id="unknown-preprocessing"),
        pytest.param({"feature_names": []}, "feature_names", id="no-features"),
        pytest.param({"feature_names": ["a", "a", "b"]}, "feature_names", id="repeated-feature"),
        pytest.param({"feature_names": ["a", 1, "b"]}, "feature_names", id="feature-no-text"),
        pytest.param({"feature_names": ["a", "b"]}, "has 3 numbers, not 2", id="feature-count"),
        pytest.param({"target": {"kind": "X", "horizon_bars": True}}, "horizon_bars", id="horizon-type"),
        pytest.param({"parameters": {"a": [1]}}, "plain values", id="nested-parameter"),
    ],
)
def test_a_forged_description_is_refused(change: dict[str, object], problem: str) -> None:
    description = json.loads(ARTIFACTS[0]["model.json"]) | change

    with pytest.raises(ArtifactError, match=problem):
        load_predictor(ARTIFACTS[0] | {"model.json": encode_canonical(description)})


def int32(*values: int) -> bytes:
    return encode_array(np.array(values, dtype=np.int32))


@pytest.mark.parametrize(
    ("change", "file"),
    [
        pytest.param({"left.npy": int32(1, 0, 3, 3, 4, 6, 6, 7)}, "left.npy", id="cycle"),
        pytest.param({"left.npy": int32(1, 1, 3, 3, 4, 6, 6, 6)}, "left.npy", id="child-before-parent"),
        pytest.param({"left.npy": int32(1, 1, 3, 3, 4, 7, 6, 7)}, "left.npy", id="right-child-outside"),
        pytest.param({"left.npy": int32(99, 1, 3, 3, 4, 6, 6, 7)}, "left.npy", id="left-child-outside"),
        pytest.param({"feature.npy": int32(3, 0, 1, 0, 0, 2, 0, 0)}, "feature.npy", id="feature-outside"),
        pytest.param({"feature.npy": int32(-1, 0, 1, 0, 0, 2, 0, 0)}, "feature.npy", id="feature-negative"),
        pytest.param({"feature.npy": int32(0)}, "threshold.npy", id="lengths-differ"),
        pytest.param({"roots.npy": int32(8)}, "roots.npy", id="root-outside"),
        pytest.param({"roots.npy": int32(-1)}, "roots.npy", id="root-negative"),
        pytest.param({"roots.npy": int32()}, "roots.npy", id="no-trees"),
        pytest.param({"roots.npy": int32(*[0] * 10_001)}, "roots.npy", id="too-many-trees"),
        pytest.param(
            {"scaling.npy": encode_array(np.array([0.0, 0.0]))}, "scaling.npy", id="divided-by-nothing"
        ),
        pytest.param({"value.npy": encode_array(np.full(8, np.nan))}, "value.npy", id="not-finite"),
        pytest.param(
            {"value.npy": encode_array(np.zeros(8, dtype=np.float32))}, "value.npy", id="other-type"
        ),
    ],
)
def test_forged_trees_are_refused(change: dict[str, bytes], file: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        load_predictor(ARTIFACTS[1] | change)

    assert caught.value.file == file


def test_a_tree_too_deep_is_refused() -> None:
    depth = 100
    left = [node + 1 if node % 2 == 0 else node for node in range(2 * depth)] + [2 * depth]
    count = len(left)
    nodes = {
        "left.npy": int32(*left),
        "feature.npy": int32(*[0] * count),
        "threshold.npy": encode_array(np.zeros(count)),
        "value.npy": encode_array(np.zeros(count)),
        "roots.npy": int32(0),
    }

    with pytest.raises(ArtifactError, match="deeper"):
        load_predictor(ARTIFACTS[1] | nodes)


def test_a_scale_of_nothing_is_refused() -> None:
    with pytest.raises(ArtifactError, match="not positive"):
        load_predictor(ARTIFACTS[0] | {"scale.npy": encode_array(np.zeros(3))})


def test_huge_finite_numbers_overflow_in_silence() -> None:
    predictor = load_predictor(ARTIFACTS[0] | {"coefficients.npy": encode_array(np.full(3, 1e308))})

    assert not np.isfinite(predictor.predict(ROWS)).all()
