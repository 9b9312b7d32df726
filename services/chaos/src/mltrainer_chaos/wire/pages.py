"""Reads page requests and writes page tokens."""

from mltrainer.chaos.v1.chaos_service_pb2 import ListChaosRunsRequest

from mltrainer_chaos.domain.errors import InvalidFieldError

_DEFAULT_SIZE = 100
_MAX_SIZE = 1_000


def page_size(request: ListChaosRunsRequest) -> int:
    """Returns how many entries are wanted.

    Raises:
        InvalidFieldError: The number is out of range.
    """
    if not 0 <= request.page_size <= _MAX_SIZE:
        raise InvalidFieldError("page_size", f"must be between 1 and {_MAX_SIZE}, not {request.page_size}")
    return request.page_size or _DEFAULT_SIZE


def before(request: ListChaosRunsRequest) -> int | None:
    """Returns the ordinal that the page before ended with; None for the first page.

    Raises:
        InvalidFieldError: The token is none of ours.
    """
    token = request.page_token
    if not token:
        return None
    if not (token.isascii() and token.isdigit() and len(token) < 19):
        raise InvalidFieldError("page_token", "is no `next_page_token` of an earlier answer")
    return int(token)
