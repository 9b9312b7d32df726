"""What announces an upload is refused by field before anything is stored."""

from typing import Any

import pytest
from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer_registry.domain.errors import (
    FileTooLargeError,
    InvalidFieldError,
    ModelQuotaExceededError,
    OffsetOutOfRangeError,
    UploadExpiredError,
    UploadIncompleteError,
)
from mltrainer_registry.domain.uploads import UploadLimits, part_count
from mltrainer_registry.wire.errors import to_rpc_error
from mltrainer_registry.wire.requests import to_file_piece, to_grace, to_upload

WRONG = ["..", "a/b", "../x", "a\x00b", "a\nb", "x" * 10_000, "Ä", "", " "]


@pytest.mark.parametrize("name", WRONG)
def test_a_training_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        to_upload(api.UploadHeader(training=f"trainings/{name}", fencing_token=1))

    assert refused.value.field == "header.training"
    assert len(refused.value.description) < 500


@pytest.mark.parametrize("name", WRONG)
def test_a_model_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        to_upload(api.UploadHeader(training="trainings/t1", model=f"models/{name}"))

    assert refused.value.field == "header.model"


def test_a_header_says_whose_quota_counts() -> None:
    header = api.UploadHeader(training="trainings/t1", fencing_token=3, model="models/vol5")

    assert to_upload(header).model == "vol5"
    assert to_upload(api.UploadHeader(training="trainings/t1")).model == ""


def test_a_chunk_without_an_offset_follows_the_one_before() -> None:
    follows = api.UploadChunk(file_index=1, data=b"x")
    begins = api.UploadChunk(file_index=1, data=b"x", offset_bytes=0)

    pieces = [to_file_piece(api.UploadArtifactRequest(chunk=chunk)) for chunk in (follows, begins)]

    assert [piece.offset_bytes for piece in pieces] == [None, 0]


def test_a_grace_period_may_be_left_out() -> None:
    request = api.CollectGarbageRequest()
    assert to_grace(request) is None

    request.grace.seconds = 90

    assert to_grace(request).total_seconds() == 90  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("error", "code", "facts"),
    [
        (
            ModelQuotaExceededError("vol5", 20, 6, 25),
            "RESOURCE_EXHAUSTED",
            {"model": "models/vol5", "used_bytes": "20", "added_bytes": "6", "limit_bytes": "25"},
        ),
        (
            FileTooLargeError("a", 2, 1),
            "RESOURCE_EXHAUSTED",
            {"path": "a", "size_bytes": "2", "limit_bytes": "1"},
        ),
        (
            UploadIncompleteError("a", 1, 2),
            "FAILED_PRECONDITION",
            {"path": "a", "first_missing_part": "1", "missing_count": "2"},
        ),
        (UploadExpiredError("trainings/t1", "d"), "ABORTED", {"training": "trainings/t1"}),
        (OffsetOutOfRangeError("a", 9, 8), "OUT_OF_RANGE", {"offset_bytes": "9", "size_bytes": "8"}),
    ],
)
def test_refusals_name_their_numbers(error: Exception, code: str, facts: dict[str, Any]) -> None:
    answer = to_rpc_error(error)

    assert answer is not None
    assert answer.code.name == code
    assert facts.items() <= dict(answer.metadata).items()
    assert all(value in answer.message for value in facts.values())


@pytest.mark.parametrize(("size_bytes", "parts"), [(0, 0), (1, 1), (8 << 20, 1), ((8 << 20) + 1, 2)])
def test_a_file_has_as_many_parts_as_its_size_needs(size_bytes: int, parts: int) -> None:
    assert part_count(size_bytes) == parts


def test_an_upload_that_adds_nothing_fits_any_quota() -> None:
    UploadLimits(1, 1, 10).check_model("vol5", used_bytes=11, added_bytes=0)
