"""Compares our client's copy of Feast's online contract with the stubs of the Feast wheel."""

import json
import subprocess
import sys

import pytest
from feast_wire import online_pb2

_FEAST = """
import json
from mltrainer_feature.wire import feast_stubs
files = [feast_stubs.serving_pb2.DESCRIPTOR, feast_stubs.value_pb2.DESCRIPTOR]
print(json.dumps({
    message.name: {field.name: [field.number, field.type] for field in message.fields}
    for file in files for message in file.message_types_by_name.values()
}))
"""


@pytest.fixture(scope="module")
def feast() -> dict[str, dict[str, list[int]]]:
    stubs = subprocess.run(
        [sys.executable, "-c", _FEAST], capture_output=True, text=True, check=True, timeout=120
    )
    content: dict[str, dict[str, list[int]]] = json.loads(stubs.stdout)
    return content


@pytest.mark.parametrize("name", sorted(online_pb2.DESCRIPTOR.message_types_by_name))
def test_every_field_has_the_number_and_type_that_feast_gives_it(
    name: str, feast: dict[str, dict[str, list[int]]]
) -> None:
    ours = online_pb2.DESCRIPTOR.message_types_by_name[name]

    numbers = {field.name: [field.number, field.type] for field in ours.fields}

    assert numbers.items() <= feast[name].items()
