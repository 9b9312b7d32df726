from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from mltrainer_models import (
    ArtifactError,
    BatchOnlyError,
    LibraryModel,
    ModelDescription,
    ModelTarget,
    ObjectState,
    UnsupportedStateError,
    load_predictor,
    read_library_model,
    save_model,
)
from mltrainer_models.canonical import encode_canonical
from mltrainer_models.library_state import DTYPES, STATE_FILE, decode_state, encode_state, types_in

DESCRIPTION = ModelDescription("garch", ModelTarget("VOLATILITY", 1), ("return",))
STATE = {
    "parameters": np.array([0.1, np.nan, 0.8]),
    "order": (1, 1),
    "inner": ObjectState("library.module:Model", {"count": np.int64(3), "flags": np.array([True, False])}),
    "limits": [float("inf"), -0.0, None],
    7: "a number as key",
}

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats()
    | st.text()
    | npst.arrays(
        st.sampled_from([np.float64, np.float32, np.int64, np.int32, np.uint8, np.bool_]),
        npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.lists(inner).map(tuple),
    max_leaves=8,
)


def test_what_is_read_is_what_was_written() -> None:
    model = read_library_model(
        save_model(LibraryModel(DESCRIPTION, STATE)), "garch", frozenset({"library.module:Model"})
    )

    assert model.description == DESCRIPTION
    assert repr(model.state["parameters"]) == repr(STATE["parameters"])
    assert model.state["order"] == (1, 1)
    assert model.state["limits"] == [float("inf"), 0.0, None]
    assert model.state[7] == "a number as key"
    inner = model.state["inner"]
    assert (inner.type_name, inner.state["count"].dtype) == ("library.module:Model", np.int64)
    assert inner.state["flags"].tolist() == [True, False]


@given(state=PLAIN)
def test_any_plain_state_survives_and_has_one_spelling(state: Any) -> None:
    files = encode_state(state)

    again = encode_state(decode_state(files))

    assert again == files


def test_a_type_that_is_not_expected_is_refused_by_name() -> None:
    artifact = save_model(LibraryModel(DESCRIPTION, [ObjectState("os:system", {})]))

    with pytest.raises(ArtifactError, match="no state of type 'os:system'"):
        read_library_model(artifact, "garch", frozenset({"library.module:Model"}))


def test_a_type_is_found_wherever_it_hides() -> None:
    state = {"a": [(ObjectState("m:A", {"b": [ObjectState("m:B", None)]}),)]}

    assert set(types_in(state)) == {"m:A", "m:B"}


def test_serving_refuses_it_as_a_batch_model() -> None:
    with pytest.raises(BatchOnlyError, match="predicts in batch only"):
        load_predictor(save_model(LibraryModel(DESCRIPTION, STATE)))


def test_the_model_of_another_entry_is_refused() -> None:
    with pytest.raises(ArtifactError, match="'garch', not 'egarch'"):
        read_library_model(save_model(LibraryModel(DESCRIPTION, {})), "egarch", frozenset())


def test_a_value_without_plain_form_is_named() -> None:
    with pytest.raises(UnsupportedStateError, match="/inner holds a builtins:set"):
        encode_state({"inner": {1, 2}})


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        pytest.param({"object": "a:B"}, "no known form", id="an object without a state"),
        pytest.param({"array": "object", "shape": [1]}, "no array of object", id="an array of objects"),
        pytest.param({"array": "float64", "shape": [9]}, "fewer numbers", id="an array beyond the numbers"),
        pytest.param({"array": "float64", "shape": [-1]}, "no array", id="a negative size"),
        pytest.param({"dict": [[1]]}, "no pair", id="a broken pair"),
        pytest.param({"dict": [[1, 2], [1, 3]]}, "two entries", id="a key twice"),
        pytest.param({"dict": [[[1], 2]]}, "neither text nor a number", id="a list as key"),
        pytest.param({"float": "1.0"}, "no known form", id="a plain number as special"),
        pytest.param(None, "more numbers", id="numbers without a place"),
    ],
)
def test_a_broken_state_is_refused(state: Any, problem: str) -> None:
    files = encode_state(np.arange(3.0)) | {STATE_FILE: encode_canonical({"state": state})}

    with pytest.raises(ArtifactError, match=problem):
        decode_state(files)


def test_deep_nesting_is_refused() -> None:
    state: Any = None
    for _ in range(300):
        state = [state]

    with pytest.raises(ArtifactError, match="nested too deeply"):
        decode_state({STATE_FILE: encode_canonical({"state": state})})


def test_every_dtype_has_a_file_of_its_own() -> None:
    assert set(encode_state([np.zeros(1, dtype) for dtype in DTYPES])) == {
        STATE_FILE,
        *(f"{dtype}.npy" for dtype in DTYPES),
    }


def test_foreign_files_are_refused() -> None:
    files = dict(save_model(LibraryModel(DESCRIPTION, {})).files)

    with pytest.raises(ArtifactError, match="not a file of this kind"):
        read_library_model({**files, "code.pkl": b""}, "garch", frozenset())
