"""Decodes requests into commands."""

import base64
import binascii

from mltrainer.experiment.v1 import experiment_service_pb2 as api

from mltrainer_experiment.application.define_experiment import CreateExperiment
from mltrainer_experiment.domain.errors import InvalidFieldError
from mltrainer_experiment.domain.validation import check_text
from mltrainer_experiment.wire.resources import to_definition

_DEFAULT_PAGE_SIZE = 100
_MAX_PAGE_SIZE = 1_000


def to_create_experiment(request: api.CreateExperimentRequest) -> CreateExperiment:
    """Decodes a CreateExperimentRequest."""
    request_id = check_text(request.request_id, "request_id") if request.request_id else ""
    return CreateExperiment(request.experiment_id, to_definition(request.experiment), request_id)


def page_limit(page_size: int) -> int:
    """Returns how many items a page holds."""
    if not 0 <= page_size <= _MAX_PAGE_SIZE:
        raise InvalidFieldError("page_size", f"is {page_size}, not 1 to {_MAX_PAGE_SIZE}")
    return page_size or _DEFAULT_PAGE_SIZE


def to_cursor(page_token: str) -> str:
    """Decodes a page token."""
    try:
        return base64.b64decode(page_token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidFieldError("page_token", "is not the next_page_token of this list") from error


def to_page_token(cursor: str) -> str:
    """Encodes a cursor."""
    return base64.urlsafe_b64encode(cursor.encode()).decode()
