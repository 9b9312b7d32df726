"""Roles, errors and page tokens are complete."""

import pytest
from grpc import StatusCode
from mltrainer.trainer.v1 import retraining_service_pb2, trainer_service_pb2
from mltrainer_common.authorization import unlisted_methods
from mltrainer_trainer.application.ports import PageRequest
from mltrainer_trainer.domain import errors
from mltrainer_trainer.domain.errors import InvalidFieldError, TrainerError
from mltrainer_trainer.wire.errors import to_rpc_error
from mltrainer_trainer.wire.events import PUBLISHED
from mltrainer_trainer.wire.pages import cut_page, to_page_request
from mltrainer_trainer.wire.roles import ROLES

REFUSALS: dict[type[TrainerError], tuple[TrainerError, StatusCode, str]] = {
    errors.AttemptNotFoundError: (
        errors.AttemptNotFoundError("n"),
        StatusCode.NOT_FOUND,
        "ATTEMPT_NOT_FOUND",
    ),
    errors.StudyNotFoundError: (errors.StudyNotFoundError("n"), StatusCode.NOT_FOUND, "STUDY_NOT_FOUND"),
    errors.StaleFencingTokenError: (
        errors.StaleFencingTokenError("n", 1, 2),
        StatusCode.FAILED_PRECONDITION,
        "STALE_FENCING_TOKEN",
    ),
    errors.AttemptEndedError: (
        errors.AttemptEndedError("n", "FAILED"),
        StatusCode.FAILED_PRECONDITION,
        "ATTEMPT_ENDED",
    ),
    errors.StudyTargetDiffersError: (
        errors.StudyTargetDiffersError("s", "a", "b"),
        StatusCode.FAILED_PRECONDITION,
        "STUDY_TARGET_DIFFERS",
    ),
    errors.RetrainingNotFoundError: (
        errors.RetrainingNotFoundError("n"),
        StatusCode.NOT_FOUND,
        "RETRAINING_NOT_FOUND",
    ),
    errors.RetrainingExistsError: (
        errors.RetrainingExistsError("n"),
        StatusCode.ALREADY_EXISTS,
        "RETRAINING_EXISTS",
    ),
    errors.StaleEtagError: (errors.StaleEtagError("n", "2"), StatusCode.ABORTED, "STALE_ETAG"),
    errors.InvalidFieldError: (
        errors.InvalidFieldError("f", "d"),
        StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
    ),
}


def test_every_method_has_a_role() -> None:
    files = (trainer_service_pb2.DESCRIPTOR, retraining_service_pb2.DESCRIPTOR)
    services = [service for file in files for service in file.services_by_name.values()]

    assert unlisted_methods(services, ROLES) == []


def test_every_refusal_is_mapped() -> None:
    declared = {
        item
        for item in vars(errors).values()
        if isinstance(item, type) and issubclass(item, TrainerError) and item is not TrainerError
    }

    assert declared == set(REFUSALS)
    for error, code, reason in REFUSALS.values():
        answer = to_rpc_error(error)
        assert answer is not None
        assert (answer.code, answer.reason) == (code, reason)
        assert answer.metadata


def test_what_is_unknown_is_not_mapped() -> None:
    assert to_rpc_error(ValueError("x")) is None


def test_every_published_event_is_ours() -> None:
    assert {event.DESCRIPTOR.file.package for event in PUBLISHED} == {"mltrainer.trainer.v1"}


def test_a_token_leads_to_the_next_page_and_the_last_has_none() -> None:
    page = to_page_request(2, "")
    first, token = cut_page([("a", 1), ("b", 2), ("c", 3)], page)
    following = to_page_request(2, token)
    last, no_token = cut_page([("c", 3)], following)

    assert (page, following) == (PageRequest(3), PageRequest(3, "b"))
    assert (first, last, no_token) == ([1, 2], [3], "")


@pytest.mark.parametrize(("size", "token"), [(-1, ""), (1001, ""), (1, "?"), (1, "é")])
def test_a_page_out_of_range_is_refused(size: int, token: str) -> None:
    with pytest.raises(InvalidFieldError):
        to_page_request(size, token)
