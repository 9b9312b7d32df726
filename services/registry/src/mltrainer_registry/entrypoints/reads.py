"""Answers reads from what this replica holds in memory, not before it holds what they ask for."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

from mltrainer.registry.v1 import resources_pb2 as resources

from mltrainer_registry.application.follow_changes import ChangeFollower
from mltrainer_registry.domain.aliases import Alias
from mltrainer_registry.domain.names import AliasName, parse_alias
from mltrainer_registry.wire.resources import encode_alias

R = TypeVar("R")
Read = Callable[[Any, Any, Any], Awaitable[R]]


def at_revision(read: Read[R]) -> Read[R]:
    """Lets a read with `min_revision` wait until this replica knows that revision."""

    @wraps(read)
    async def waiting(self: Any, request: Any, context: Any) -> R:
        if request.min_revision:
            await self._use.reach_revision(request.min_revision)
        return await read(self, request, context)

    return waiting


class AliasAnswers:
    """Keeps the encoded answer about each alias until the alias moves."""

    def __init__(self, follower: ChangeFollower) -> None:
        self._follower = follower
        self._answers: dict[str, tuple[AliasName, Alias, resources.Alias]] = {}

    def answer(self, text: str) -> resources.Alias:
        """Returns the answer about an alias by its name.

        Raises:
            AliasNotFoundError: It points nowhere.
        """
        held = self._answers.get(text)
        name = parse_alias(text) if held is None else held[0]
        alias = self._follower.alias(name)
        if held is not None and held[1] is alias:
            return held[2]
        answer = encode_alias(alias)
        self._answers[text] = (name, alias, answer)
        return answer
