"""Draws varied requests, and reads what every server answers."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mltrainer_feature.wire.feast_stubs import serving_pb2
from prepare import FEATURES, VIEWS

ALL_FEATURES = [f"view_{view}:feature_{view}_{place}" for view in range(VIEWS) for place in range(FEATURES)]
# So many models ask for features, each for its own list; entities differ from call to call.
LISTS = 32


@dataclass(frozen=True)
class Request:
    """One read, in both encodings."""

    symbols: tuple[str, ...]
    features: tuple[str, ...]
    message: bytes
    document: bytes


def make(symbols: Sequence[str], features: Sequence[str]) -> Request:
    message: Any = serving_pb2.GetOnlineFeaturesRequest()
    message.features.val.extend(features)
    for symbol in symbols:
        message.entities["symbol"].val.add().string_val = symbol
    document = {"features": list(features), "entities": {"symbol": list(symbols)}}
    return Request(
        tuple(symbols), tuple(features), message.SerializeToString(), json.dumps(document).encode()
    )


def draw(
    entities: int, width: int, symbols: int, number: int, *, seed: int, lists: int = LISTS
) -> list[Request]:
    """Returns requests of one shape: entities anew each time, one of `lists` feature lists."""
    chance = random.Random(seed)
    names = [f"SYM{index}" for index in range(symbols)]
    wanted = [chance.sample(ALL_FEATURES, width) for _ in range(lists)]
    return [make(chance.sample(names, entities), wanted[index % lists]) for index in range(number)]


def values_of_message(answer: bytes) -> dict[str, list[float]]:
    message: Any = serving_pb2.GetOnlineFeaturesResponse.FromString(answer)
    columns = zip(message.metadata.feature_names.val, message.results, strict=True)
    return {
        name: [value.double_val for value in column.values] for name, column in columns if name != "symbol"
    }


def values_of_document(answer: bytes) -> dict[str, list[float]]:
    document = json.loads(answer)
    columns = zip(document["metadata"]["feature_names"], document["results"], strict=True)
    return {name: column["values"] for name, column in columns if name != "symbol"}
