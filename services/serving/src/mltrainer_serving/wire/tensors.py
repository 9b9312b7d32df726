"""Reads Open Inference tensors into a matrix and writes predictions back.

Source: Open Inference Protocol v2 (kserve/open-inference-protocol). Raw contents are little-endian;
BYTES elements carry a four-byte length; with raw contents the typed ones must be empty.
"""

import struct
from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
from inference.open_inference_pb2 import InferParameter, ModelInferRequest, ModelInferResponse
from numpy.typing import NDArray

from mltrainer_serving.domain.errors import InvalidTensorError

Array = NDArray[np.float64]
InputTensor = ModelInferRequest.InferInputTensor

FEATURES = "features"
SYMBOL = "symbol"
PREDICTION = "prediction"
_NUMERIC: Mapping[str, tuple[str, str]] = {
    "BOOL": ("?", "bool_contents"),
    "INT8": ("<i1", "int_contents"),
    "INT16": ("<i2", "int_contents"),
    "INT32": ("<i4", "int_contents"),
    "INT64": ("<i8", "int64_contents"),
    "UINT8": ("<u1", "uint_contents"),
    "UINT16": ("<u2", "uint_contents"),
    "UINT32": ("<u4", "uint_contents"),
    "UINT64": ("<u8", "uint64_contents"),
    "FP16": ("<f2", ""),
    "FP32": ("<f4", "fp32_contents"),
    "FP64": ("<f8", "fp64_contents"),
}
_MAX_ROWS = 100_000


class InputTensors:
    """The tensors of one request by name; decoded when the model's features are known."""

    def __init__(self, request: ModelInferRequest) -> None:
        self._request = request
        self._raw = request.raw_input_contents
        if self._raw and len(self._raw) != len(request.inputs):
            raise InvalidTensorError(
                "raw_input_contents", f"{len(self._raw)} raw contents for {len(request.inputs)} inputs"
            )
        self._index = {tensor.name: index for index, tensor in enumerate(request.inputs)}
        if len(self._index) != len(request.inputs):
            raise InvalidTensorError("inputs", "two inputs have the same name")

    def matrix(self, feature_names: Sequence[str]) -> Array:
        """Builds rows × features from one tensor `features` [n, k], or from one tensor [n] per feature.

        Raises:
            InvalidTensorError: A tensor is missing, unknown, misshapen or of a type that holds no numbers.
        """
        if FEATURES in self._index:
            return self._whole(feature_names)
        missing = [name for name in feature_names if name not in self._index]
        if missing:
            raise InvalidTensorError("inputs", f"missing input {missing[0]!r} (and {len(missing) - 1} more)")
        self._refuse_unknown({*feature_names, SYMBOL})
        columns = [self._numbers(self._index[name]).reshape(-1) for name in feature_names]
        if len({len(column) for column in columns}) != 1:
            raise InvalidTensorError("inputs", "inputs have different numbers of rows")
        return _bounded(np.column_stack(columns))

    def symbols(self) -> list[str]:
        """Returns the optional BYTES tensor `symbol`, one per row."""
        if SYMBOL not in self._index:
            return []
        index = self._index[SYMBOL]
        tensor = self._request.inputs[index]
        if tensor.datatype != "BYTES":
            raise InvalidTensorError(f"inputs[{index}]", f"{SYMBOL} must be BYTES, not {tensor.datatype}")
        elements = _raw_bytes(self._raw[index], index) if self._raw else list(tensor.contents.bytes_contents)
        _check_size(tensor, len(elements), index)
        try:
            return [element.decode() for element in elements]
        except UnicodeDecodeError as error:
            raise InvalidTensorError(f"inputs[{index}]", f"{SYMBOL} must be UTF-8") from error

    def _whole(self, feature_names: Sequence[str]) -> Array:
        self._refuse_unknown({FEATURES, SYMBOL})
        index = self._index[FEATURES]
        tensor = self._request.inputs[index]
        if len(tensor.shape) != 2 or tensor.shape[1] != len(feature_names):
            raise InvalidTensorError(
                f"inputs[{index}].shape",
                f"{FEATURES} must have shape [n, {len(feature_names)}], not {list(tensor.shape)}",
            )
        return _bounded(self._numbers(index).reshape(-1, len(feature_names)))

    def _refuse_unknown(self, known: set[str]) -> None:
        unknown = sorted(self._index.keys() - known)
        if unknown:
            raise InvalidTensorError("inputs", f"unknown input {unknown[0]!r}")

    def _numbers(self, index: int) -> Array:
        tensor = self._request.inputs[index]
        if tensor.datatype not in _NUMERIC:
            raise InvalidTensorError(f"inputs[{index}].datatype", f"{tensor.datatype!r} holds no numbers")
        dtype, typed_field = _NUMERIC[tensor.datatype]
        if self._raw:
            if tensor.HasField("contents"):
                raise InvalidTensorError(
                    f"inputs[{index}].contents", "must be empty beside raw_input_contents"
                )
            values = _from_raw(self._raw[index], dtype, index)
        elif not typed_field:
            raise InvalidTensorError(f"inputs[{index}]", f"{tensor.datatype} must be sent raw")
        else:
            values = np.asarray(getattr(tensor.contents, typed_field), dtype=np.float64)
        _check_size(tensor, len(values), index)
        return values


def _from_raw(raw: bytes, dtype: str, index: int) -> Array:
    if len(raw) % np.dtype(dtype).itemsize:
        raise InvalidTensorError(
            f"raw_input_contents[{index}]", "its length is no multiple of the element size"
        )
    return np.frombuffer(raw, dtype=dtype).astype(np.float64)


def _raw_bytes(raw: bytes, index: int) -> list[bytes]:
    elements, position = [], 0
    while position < len(raw):
        if position + 4 > len(raw):
            raise InvalidTensorError(f"raw_input_contents[{index}]", "a length prefix is cut off")
        (length,) = struct.unpack_from("<I", raw, position)
        position += 4
        if position + length > len(raw):
            raise InvalidTensorError(f"raw_input_contents[{index}]", "an element is cut off")
        elements.append(raw[position : position + length])
        position += length
    return elements


def _check_size(tensor: InputTensor, size: int, index: int) -> None:
    expected = 1
    for extent in tensor.shape:
        if extent < 0:
            raise InvalidTensorError(f"inputs[{index}].shape", "an extent is negative")
        expected *= extent
    if size != expected:
        raise InvalidTensorError(
            f"inputs[{index}]",
            f"{tensor.name!r} has {size} elements, its shape {list(tensor.shape)} needs {expected}",
        )


def _bounded(matrix: Array) -> Array:
    if not 0 < len(matrix) <= _MAX_ROWS:
        raise InvalidTensorError("inputs", f"between 1 and {_MAX_ROWS} rows are answered, not {len(matrix)}")
    return matrix


def event_time_of(parameters: Mapping[str, InferParameter]) -> datetime | None:
    """Reads the optional parameter `event_time`, an ISO 8601 time with a zone."""
    if "event_time" not in parameters:
        return None
    text = parameters["event_time"].string_param
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidTensorError("parameters.event_time", f"{text!r} is no ISO 8601 time") from error
    if parsed.tzinfo is None:
        raise InvalidTensorError("parameters.event_time", f"{text!r} has no time zone")
    return parsed


def to_response(request: ModelInferRequest, number: int, alias: str, values: Array) -> ModelInferResponse:
    """Answers with one FP64 tensor `prediction` [n], raw: typed contents read as empty in common clients."""
    for index, output in enumerate(request.outputs):
        if output.name != PREDICTION:
            raise InvalidTensorError(f"outputs[{index}].name", f"the only output is {PREDICTION!r}")
    response = ModelInferResponse(
        model_name=request.model_name,
        model_version=str(number),
        id=request.id,
        raw_output_contents=[np.ascontiguousarray(values, dtype="<f8").tobytes()],
    )
    response.outputs.add(name=PREDICTION, datatype="FP64", shape=[len(values)])
    response.parameters["alias"].string_param = alias
    return response
