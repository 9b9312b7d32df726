"""Asks for predictions through the Open Inference Protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from inference.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a model answered.

    Attributes:
        values: float64 [rows].
        version: Number of the version that answered.
        alias: Alias through which it answered.
    """

    values: NDArray[np.float64]
    version: int
    alias: str


def to_request(
    model: str,
    matrix: ArrayLike,
    *,
    version: str = "",
    symbols: Sequence[str] = (),
    unit: str = "",
    event_time: datetime | None = None,
    request_id: str = "",
) -> ModelInferRequest:
    """Packs a matrix [rows, features] in the model's order of features."""
    rows = np.ascontiguousarray(matrix, dtype="<f8")
    request = ModelInferRequest(model_name=model, model_version=version, id=request_id)
    request.inputs.add(name="features", datatype="FP64", shape=rows.shape)
    request.raw_input_contents.append(rows.tobytes())
    if symbols:
        encoded = [symbol.encode() for symbol in symbols]
        request.inputs.add(name="symbol", datatype="BYTES", shape=[len(encoded)])
        request.raw_input_contents.append(b"".join(len(e).to_bytes(4, "little") + e for e in encoded))
    if unit:
        request.parameters["unit"].string_param = unit
    if event_time is not None:
        request.parameters["event_time"].string_param = event_time.isoformat()
    return request


def from_response(response: ModelInferResponse) -> Predictions:
    """Unpacks the answer."""
    values = np.frombuffer(response.raw_output_contents[0], dtype="<f8")
    return Predictions(values, int(response.model_version), response.parameters["alias"].string_param)
