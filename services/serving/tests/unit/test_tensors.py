import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from inference.open_inference_pb2 import ModelInferRequest
from mltrainer_serving.domain.errors import InvalidTensorError
from mltrainer_serving.wire.tensors import InputTensors, event_time_of, to_response

_DTYPES = {
    "FP64": "<f8",
    "FP32": "<f4",
    "FP16": "<f2",
    "INT64": "<i8",
    "INT32": "<i4",
    "UINT8": "<u1",
    "BOOL": "?",
    "INT16": "<i2",
}


def _raw_request(matrix: np.ndarray, datatype: str = "FP64") -> ModelInferRequest:
    request = ModelInferRequest(model_name="m")
    request.inputs.add(name="features", datatype=datatype, shape=matrix.shape)
    request.raw_input_contents.append(matrix.astype(_DTYPES[datatype]).tobytes())
    return request


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)))
def test_raw_doubles_arrive_bit_by_bit(matrix: np.ndarray) -> None:
    names = [f"f{index}" for index in range(matrix.shape[1])]

    decoded = InputTensors(_raw_request(matrix)).matrix(names)

    assert decoded.tobytes() == matrix.tobytes()


@pytest.mark.parametrize("datatype", sorted(_DTYPES))
def test_every_numeric_type_is_read_raw(datatype: str) -> None:
    matrix = np.array([[0.0, 1.0], [1.0, 0.0]])

    decoded = InputTensors(_raw_request(matrix, datatype)).matrix(["a", "b"])

    np.testing.assert_array_equal(decoded, matrix)


def test_one_tensor_per_feature_is_put_in_the_models_order() -> None:
    request = ModelInferRequest(model_name="m")
    for name, values in (("b", [3.0, 4.0]), ("a", [1.0, 2.0])):
        request.inputs.add(name=name, datatype="FP64", shape=[2]).contents.fp64_contents.extend(values)

    decoded = InputTensors(request).matrix(["a", "b"])

    np.testing.assert_array_equal(decoded, [[1.0, 3.0], [2.0, 4.0]])


def _typed(
    name: str = "features", datatype: str = "FP64", shape: tuple[int, ...] = (1, 2)
) -> ModelInferRequest:
    request = ModelInferRequest(model_name="m")
    request.inputs.add(name=name, datatype=datatype, shape=shape).contents.fp64_contents.extend([1.0, 2.0])
    return request


def _both_contents() -> ModelInferRequest:
    request = _typed()
    request.raw_input_contents.append(np.zeros(2).tobytes())
    return request


def _cut_off() -> ModelInferRequest:
    request = _raw_request(np.zeros((1, 2)))
    request.raw_input_contents[0] = b"\x00" * 15
    return request


def _uncounted() -> ModelInferRequest:
    request = _raw_request(np.zeros((1, 2)))
    request.raw_input_contents.append(b"")
    return request


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        pytest.param(_typed(shape=(1, 3)), "inputs[0].shape", id="another number of features"),
        pytest.param(_typed(shape=(2, 2)), "inputs[0]", id="fewer elements than the shape says"),
        pytest.param(_typed(shape=(-1, 2)), "inputs[0].shape", id="negative extent"),
        pytest.param(_typed(name="other"), "inputs", id="unknown input"),
        pytest.param(_typed(datatype="BYTES"), "inputs[0].datatype", id="no numbers"),
        pytest.param(_typed(datatype="FP16"), "inputs[0]", id="half floats not raw"),
        pytest.param(_both_contents(), "inputs[0].contents", id="typed and raw contents"),
        pytest.param(_cut_off(), "raw_input_contents[0]", id="cut off bytes"),
        pytest.param(_uncounted(), "raw_input_contents", id="more raw contents than inputs"),
        pytest.param(ModelInferRequest(model_name="m"), "inputs", id="no input"),
        pytest.param(_raw_request(np.zeros((0, 2))), "inputs", id="no rows"),
    ],
)
def test_a_wrong_tensor_is_refused_by_its_path(request_: ModelInferRequest, field: str) -> None:
    with pytest.raises(InvalidTensorError) as caught:
        InputTensors(request_).matrix(["a", "b"])

    assert caught.value.field == field


def test_symbols_are_read_raw_and_typed() -> None:
    typed = ModelInferRequest()
    typed.inputs.add(name="symbol", datatype="BYTES", shape=[2]).contents.bytes_contents.extend(
        [b"AAPL", b"XOM"]
    )
    raw = ModelInferRequest(raw_input_contents=[b"\x04\x00\x00\x00AAPL\x03\x00\x00\x00XOM"])
    raw.inputs.add(name="symbol", datatype="BYTES", shape=[2])

    assert InputTensors(typed).symbols() == ["AAPL", "XOM"]
    assert InputTensors(raw).symbols() == ["AAPL", "XOM"]


@pytest.mark.parametrize("text", ["yesterday", "2022-01-01T00:00:00"])
def test_an_event_time_needs_a_zone(text: str) -> None:
    request = ModelInferRequest()
    request.parameters["event_time"].string_param = text

    with pytest.raises(InvalidTensorError):
        event_time_of(request.parameters)


def test_an_unknown_output_is_refused() -> None:
    request = ModelInferRequest(model_name="m")
    request.outputs.add(name="variance")

    with pytest.raises(InvalidTensorError):
        to_response(request, 1, "champion", np.zeros(1))
