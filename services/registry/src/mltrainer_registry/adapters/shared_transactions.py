"""Lets use cases that arrive together commit together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mltrainer_registry.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_registry.application.coalescing import Request
from mltrainer_registry.domain.errors import RegistryError

UseCase = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class SharedTransactions:
    """Runs use cases in one transaction, one after the other, each in a part of its own.

    They know nothing of it: the unit of work they open is their part. A refusal undoes the part it comes
    from. Whatever else goes wrong undoes the whole; then each is run alone, and only the guilty one fails.
    """

    unit_of_work: SqlUnitOfWorkFactory

    async def __call__(self, requests: Sequence[Request[UseCase]]) -> list[Any]:
        """Returns the answer to each request, or its refusal."""
        if len(requests) == 1:
            return [await asyncio.create_task(_run(requests[0].command), context=requests[0].context)]
        async with self.unit_of_work() as whole:
            answers = []
            for request in requests:
                context = request.context.copy()
                context.run(whole.share)
                answers.append(await asyncio.create_task(_answer(request.command), context=context))
            await whole.commit()
        return answers


async def _run(use_case: UseCase) -> Any:
    return await use_case()


async def _answer(use_case: UseCase) -> Any:
    try:
        return await use_case()
    except RegistryError as refusal:
        return refusal
