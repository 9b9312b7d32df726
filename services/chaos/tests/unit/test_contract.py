from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from mltrainer.chaos.v1 import chaos_service_pb2 as api
from mltrainer.chaos.v1 import events_pb2 as events
from mltrainer_chaos.domain import errors
from mltrainer_chaos.domain.run import ChaosRun, Outcome, RunFinished, Verdict, ended, started
from mltrainer_chaos.wire import pages
from mltrainer_chaos.wire.errors import to_rpc_error
from mltrainer_chaos.wire.events import PUBLISHED, to_message, to_request
from mltrainer_chaos.wire.roles import ROLES
from mltrainer_common.authorization import Role, unlisted_methods
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError
from mltrainer_messaging.topics import topic_of

SERVICE = api.DESCRIPTOR.services_by_name["ChaosService"]
ERRORS = sorted(errors.ChaosError.__subclasses__(), key=lambda error: error.__name__)
NOW = datetime(2026, 1, 5, tzinfo=UTC)
RUN = ChaosRun("chaosRuns/r1", 1, "t", "{}", ("serving-0",), "users/sre", "game day", NOW)


def example(error: Any) -> Exception:
    if error is errors.InvalidExperimentError:
        return errors.InvalidExperimentError((errors.Violation("method", "must be a list"),))
    made: Exception = error(*("text" for _ in fields(error)))
    return made


def test_every_method_has_a_role() -> None:
    assert unlisted_methods([SERVICE], ROLES) == []


@pytest.mark.parametrize("method", ["CreateChaosRun", "StopAllChaosRuns", "ReleaseKillSwitch"])
def test_only_operators_break_and_stop(method: str) -> None:
    assert ROLES.roles(f"/{SERVICE.full_name}/{method}") == {Role.OPERATOR}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_of_the_domain_has_an_answer(error: Any) -> None:
    answer = to_rpc_error(example(error))

    assert answer is not None
    assert answer.reason.isupper()
    assert answer.code is not grpc.StatusCode.UNAVAILABLE
    assert all(fact in answer.message for fact in answer.metadata.values())


def test_reasons_are_told_apart() -> None:
    reasons = [answer.reason for error in ERRORS if (answer := to_rpc_error(example(error)))]

    assert len(set(reasons)) == len(ERRORS)


def test_only_an_outage_invites_a_retry_and_the_unknown_has_no_answer() -> None:
    outage, race = to_rpc_error(DatabaseUnavailableError("away")), to_rpc_error(DatabaseConflictError("lost"))

    assert outage is not None
    assert outage.code is grpc.StatusCode.UNAVAILABLE
    assert race is not None
    assert race.code is grpc.StatusCode.ABORTED
    assert to_rpc_error(KeyError("surprise")) is None


@pytest.mark.parametrize("run", ["", "runs/r1", "chaosRuns/", "chaosRuns/UPPER", "chaosRuns/a/b"])
def test_an_event_without_a_proper_name_is_refused(run: str) -> None:
    with pytest.raises(errors.InvalidFieldError):
        to_request(events.RunRequested(run=run))


def test_the_end_of_a_run_is_published_with_its_revision() -> None:
    run = ended(started(RUN, NOW), Outcome(Verdict.PASSED, "held", 1.5), NOW)

    message = to_message(RunFinished(run))

    assert isinstance(message, events.RunFinished)
    assert (message.run, message.verdict, message.recovery_s) == ("chaosRuns/r1", "PASSED", 1.5)
    assert message.revision == 3
    assert {topic_of(kind).name for kind in PUBLISHED} == {"mltrainer.chaos.run-finished.v1"}


@pytest.mark.parametrize("token", ["x", "-1", "1.5", "9" * 30])
def test_a_foreign_page_token_is_refused(token: str) -> None:
    with pytest.raises(errors.InvalidFieldError):
        pages.before(api.ListChaosRunsRequest(page_token=token))


@pytest.mark.parametrize("size", [-1, 1001])
def test_a_page_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(errors.InvalidFieldError):
        pages.page_size(api.ListChaosRunsRequest(page_size=size))
