from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer.trainer.v1.events_pb2 import AttemptFailed, AttemptStarted
from mltrainer.trainer.v1.resources_pb2 import Lineage
from mltrainer_common.authorization import Role, unlisted_methods
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError
from mltrainer_registry.domain import errors
from mltrainer_registry.domain.changes import VersionCreated
from mltrainer_registry.domain.manifests import Manifest
from mltrainer_registry.domain.names import VersionName
from mltrainer_registry.domain.versions import ModelVersion, VersionState
from mltrainer_registry.wire import events, requests
from mltrainer_registry.wire.errors import to_rpc_error
from mltrainer_registry.wire.results import decode_lineage
from mltrainer_registry.wire.roles import ROLES
from mltrainer_registry.wire.times import from_timestamp, to_timestamp

SERVICE = api.DESCRIPTOR.services_by_name["RegistryService"]
EXAMPLES: dict[str, Any] = {
    "int": 7,
    "str": "models/vol5",
    "tuple[str, ...]": ("models/vol5/aliases/champion",),
    "datetime | None": None,
}
ERRORS = sorted(errors.RegistryError.__subclasses__(), key=lambda error: error.__name__)


def example(error: Any) -> Exception:
    made: Exception = error(*(EXAMPLES[_type_name(field.type)] for field in fields(error)))
    return made


def _type_name(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    return {"tuple": "tuple[str, ...]"}.get(text, text.replace("datetime.datetime", "datetime"))


def test_every_method_has_a_role() -> None:
    assert unlisted_methods([SERVICE], ROLES) == []


@pytest.mark.parametrize("method", ["MoveAlias", "RollBackAlias", "ArchiveModelVersion", "UploadArtifact"])
def test_readers_change_nothing(method: str) -> None:
    allowed = ROLES.roles(f"/{SERVICE.full_name}/{method}")

    assert allowed.isdisjoint({Role.VIEWER, Role.TRADER, Role.PRODUCER, Role.ANYONE})


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_of_the_domain_has_an_answer(error: Any) -> None:
    answer = to_rpc_error(example(error))

    assert answer is not None
    assert answer.reason.isupper()
    assert answer.code is not grpc.StatusCode.UNAVAILABLE
    assert len(answer.message) > 10


def test_reasons_are_told_apart() -> None:
    reasons = [answer.reason for error in ERRORS if (answer := to_rpc_error(example(error)))]

    assert len(set(reasons)) == len(ERRORS)


def test_only_an_outage_invites_a_retry() -> None:
    outage, race = to_rpc_error(DatabaseUnavailableError("away")), to_rpc_error(DatabaseConflictError("lost"))

    assert outage is not None
    assert outage.code is grpc.StatusCode.UNAVAILABLE
    assert race is not None
    assert race.code is grpc.StatusCode.ABORTED


def test_an_unknown_error_has_no_answer() -> None:
    assert to_rpc_error(KeyError("surprise")) is None


def test_an_alias_of_the_past_is_missed_with_the_time_asked_for() -> None:
    answer = to_rpc_error(errors.AliasNotFoundError("models/m/aliases/a", datetime(2026, 1, 2, tzinfo=UTC)))

    assert answer is not None
    assert answer.metadata["as_of"] == "2026-01-02T00:00:00Z"


@given(st.text(max_size=80))
def test_a_cursor_survives_as_page_token(cursor: str) -> None:
    assert requests.to_cursor(requests.to_page_token(cursor)) == cursor


@pytest.mark.parametrize("token", ["?", "ab", "_-8=", "%%%%"])
def test_a_foreign_page_token_is_refused(token: str) -> None:
    with pytest.raises(errors.InvalidFieldError):
        requests.to_cursor(token)


@pytest.mark.parametrize("page_size", [-1, 1_001])
def test_a_page_size_out_of_range_is_refused(page_size: int) -> None:
    with pytest.raises(errors.InvalidFieldError):
        requests.page_limit(page_size)


def test_an_upload_begins_with_its_header() -> None:
    for first in (None, api.UploadArtifactRequest(), api.UploadArtifactRequest(chunk=api.UploadChunk())):
        with pytest.raises(errors.InvalidUploadError):
            requests.to_upload_artifact(first)


def test_a_second_header_is_refused() -> None:
    with pytest.raises(errors.InvalidUploadError):
        requests.to_file_piece(api.UploadArtifactRequest(header=api.UploadHeader()))


def test_a_failed_attempt_may_not_deliver_but_the_next_one_may() -> None:
    begun = events.started("e1", AttemptStarted(training="trainings/t", fencing_token=3))
    ended = events.failed("e2", AttemptFailed(training="trainings/t", fencing_token=3))

    assert (begun.lowest_accepted_token, ended.lowest_accepted_token) == (3, 4)


def test_a_version_keeps_the_report_of_its_attempt(attempts: Any) -> None:
    event = attempts.succeeded("trainings/t1", r2=0.25, alias="champion")
    command = events.to_create_version("e1", event)
    version = ModelVersion(
        name=VersionName(command.model, 1),
        state=VersionState.ACTIVE,
        training=command.training,
        manifest=Manifest(command.manifest_digest, attempts.files()),
        lineage=command.lineage,
        result=command.result,
        target=command.target,
        create_time=datetime(2026, 1, 5, tzinfo=UTC),
        revision=4,
        state_revision=4,
    )

    message = events.to_message(VersionCreated(version))

    assert message.version.result == event.result  # type: ignore[attr-defined] # the union is a Message
    assert message.version.lineage == event.lineage  # type: ignore[attr-defined] # the union is a Message
    assert message.version.target == event.spec.target  # type: ignore[attr-defined] # the union is a Message
    assert (command.model, command.propose_alias, command.result.metric("r2")) == ("vol5", "champion", 0.25)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_survives_as_timestamp(time: datetime) -> None:
    reference = Timestamp()
    reference.FromDatetime(time)

    encoded = to_timestamp(time)

    assert encoded == reference
    assert from_timestamp(encoded, "as_of") == time


@pytest.mark.parametrize("seconds", [2**62, -(2**62), 10**12])
def test_a_time_outside_of_the_calendar_is_refused(seconds: int) -> None:
    with pytest.raises(errors.InvalidFieldError, match="as_of"):
        from_timestamp(Timestamp(seconds=seconds), "as_of")


def test_a_lineage_with_a_nul_character_is_refused() -> None:
    with pytest.raises(errors.InvalidFieldError, match="code_digest"):
        decode_lineage(Lineage(code_digest="a\0b"))
