from dataclasses import fields
from typing import Any

import grpc
import pytest
from flagd.evaluation.v1 import evaluation_pb2 as v1
from flagd.evaluation.v2 import evaluation_pb2 as v2
from mltrainer.experiment.v1 import experiment_service_pb2 as api
from mltrainer.experiment.v1 import resources_pb2 as resources
from mltrainer_common.authorization import Role, unlisted_methods
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError
from mltrainer_experiment.domain import errors
from mltrainer_experiment.wire.errors import to_rpc_error
from mltrainer_experiment.wire.events import to_exposure, to_outcome
from mltrainer_experiment.wire.requests import page_limit, to_cursor, to_page_token
from mltrainer_experiment.wire.resources import to_definition
from mltrainer_experiment.wire.roles import ROLES

SERVICE = api.DESCRIPTOR.services_by_name["ExperimentService"]
FLAGS = [module.DESCRIPTOR.services_by_name["Service"] for module in (v1, v2)]
ERRORS = sorted(errors.ExperimentError.__subclasses__(), key=lambda error: error.__name__)


def _example(error: Any) -> Exception:
    made: Exception = error(
        *((("field", "is wrong"),) if field.name == "violations" else "something" for field in fields(error))
    )
    return made


def test_every_method_has_a_role() -> None:
    assert unlisted_methods([SERVICE, *FLAGS], ROLES) == []


@pytest.mark.parametrize("method", ["CreateExperiment", "StartExperiment", "StopExperiment"])
def test_readers_change_nothing(method: str) -> None:
    allowed = ROLES.roles(f"/{SERVICE.full_name}/{method}")

    assert allowed.isdisjoint({Role.VIEWER, Role.TRADER, Role.PRODUCER, Role.ANYONE})


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_of_the_domain_has_an_answer(error: Any) -> None:
    answer = to_rpc_error(_example(error))

    assert answer is not None
    assert answer.reason.isupper()
    assert answer.code is not grpc.StatusCode.UNAVAILABLE
    assert len(answer.message) > 10


def test_only_an_outage_invites_a_retry() -> None:
    outage = to_rpc_error(DatabaseUnavailableError("away"))
    race = to_rpc_error(DatabaseConflictError("lost"))

    assert outage is not None
    assert (outage.code, outage.retry_after_s) == (grpc.StatusCode.UNAVAILABLE, 1.0)
    assert race is not None
    assert race.code is grpc.StatusCode.ABORTED
    assert to_rpc_error(ValueError("foreign")) is None


def test_what_a_user_leaves_out_has_a_default() -> None:
    definition = to_definition(resources.Experiment(model="models/m", metric="squared_error"))

    assert (definition.traffic, definition.alpha, definition.max_loss) == (1.0, 0.05, 0.0)


def test_page_tokens_come_back_as_they_were() -> None:
    assert to_cursor(to_page_token("blue")) == "blue"
    assert (page_limit(0), page_limit(7)) == (100, 7)
    for wrong in (lambda: to_cursor("?"), lambda: page_limit(1_001), lambda: page_limit(-1)):
        with pytest.raises(errors.InvalidFieldError):
            wrong()


def test_an_outcome_outside_experiments_is_for_others(make: Any) -> None:
    assert to_outcome("e1", make.outcome("u", 1.0, experiment="")) is None


def test_an_outcome_without_an_id_is_known_by_its_event(make: Any) -> None:
    event = make.outcome("u", 1.0)
    event.outcome_id = ""

    report = to_outcome("e1", event)

    assert report is not None
    assert report.outcome.outcome_id == "e1"


@pytest.mark.parametrize("field", ["unit", "experiment", "expose_time"])
def test_an_exposure_that_says_too_little_is_refused(make: Any, field: str) -> None:
    event = make.exposure("u")
    event.ClearField(field)

    with pytest.raises(errors.InvalidFieldError) as refused:
        to_exposure("e1", event)

    assert refused.value.field == field


@pytest.mark.parametrize(
    ("field", "value"),
    [pytest.param("event_time", None, id="no market day"), pytest.param("value", float("nan"), id="nan")],
)
def test_an_outcome_that_cannot_be_counted_is_refused(make: Any, field: str, value: float | None) -> None:
    event = make.outcome("u", 1.0)
    if value is None:
        event.ClearField(field)
    else:
        setattr(event, field, value)

    with pytest.raises(errors.InvalidFieldError) as refused:
        to_outcome("e1", event)

    assert refused.value.field == field
