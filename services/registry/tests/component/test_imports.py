"""Versions from elsewhere: numbered here, never without their origin."""

from datetime import UTC, datetime
from typing import Any

import pytest
from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer.registry.v1 import resources_pb2 as resources
from mltrainer_registry.domain.errors import InvalidFieldError
from mltrainer_registry.wire import requests
from mltrainer_registry.wire import resources as wire
from mltrainer_registry.wire.times import to_timestamp

THEN = datetime(2025, 3, 1, 12, tzinfo=UTC)


def origin(**changed: Any) -> resources.Origin:
    fields = {
        "source": "http://mlflow.example:5000",
        "version": "models/churn/versions/7",
        "create_time": to_timestamp(THEN),
        "format": "opaque",
        "attributes": {"run_id": "r1", "tag.team": "växjö"},
    }
    return resources.Origin(**{**fields, **changed})


def request(attempts: Any, **changed: Any) -> api.CreateModelVersionRequest:
    upload = attempts.upload("trainings/imported-1")
    message = api.CreateModelVersionRequest(parent="models/churn", fencing_token=1)
    message.model_version.training = upload.training
    message.model_version.manifest.digest = upload.manifest_digest
    message.model_version.origin.CopyFrom(origin(**changed))
    return message


async def test_an_imported_version_keeps_its_origin_and_gets_a_number_here(
    registry: Any, attempts: Any
) -> None:
    await registry.upload(attempts.upload("trainings/imported-1"), b'{"kind":"ridge"}')
    command = requests.to_create_version(request(attempts))

    created = await registry.use.request_version(command)
    again = await registry.use.request_version(command)

    assert created == again
    assert str(created.name) == "models/churn/versions/1"
    assert wire.encode_version(created).origin == origin()
    read = await registry.use.reader.version(created.name)
    assert read is not None
    assert read.origin == created.origin


async def test_what_was_made_here_has_no_origin(registry: Any) -> None:
    name = await registry.make_version("trainings/t1")

    version = await registry.use.reader.version(name)

    assert not wire.encode_version(version).HasField("origin")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"source": ""}, "source"),
        ({"version": "x" * 1_001}, "version"),
        ({"format": "pickle"}, "format"),
        ({"attributes": {str(number): "" for number in range(101)}}, "attributes"),
        ({"attributes": {"a": "x" * 10_000}}, "attributes['a']"),
    ],
)
def test_a_malformed_origin_names_its_field(attempts: Any, changed: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        requests.to_create_version(request(attempts, **changed))

    assert refused.value.field == f"model_version.origin.{field}"
