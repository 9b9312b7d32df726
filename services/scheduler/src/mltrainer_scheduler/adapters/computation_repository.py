"""Keeps computations and what their keys were computed from in tables."""

import zlib
from collections.abc import Collection
from typing import Any

from mltrainer_common.database import DatabaseConflictError, upsert
from sqlalchemy import and_, bindparam, case, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_scheduler.adapters.tables import computation, computation_inputs
from mltrainer_scheduler.domain.keys import KeyedInputs
from mltrainer_scheduler.domain.reuse import ResultDigests, Worth
from mltrainer_scheduler.domain.training import Computation, ComputationId

# Below the number of parameters that a statement may have.
_CHUNK = 500
# Built once: to build one costs more than to execute it.
_IS = and_(
    computation.c.study == bindparam("of_study"),
    computation.c.propose_alias == bindparam("of_alias"),
    computation.c.computation_key == bindparam("of_key"),
)
_ONE = select(computation).where(_IS)
_UNCHANGED = and_(_IS, computation.c.revision == bindparam("of_revision"))
_REPLACED = (
    "leader",
    "manifest_digest",
    "revision",
    "model_digest",
    "scores_digest",
    "cpu_seconds",
    "cost_usd",
    "finish_time",
)
_REPLACE = (
    update(computation).where(_UNCHANGED).values({name: bindparam(f"new_{name}") for name in _REPLACED})
)
_REMOVE = delete(computation).where(_UNCHANGED)


class SqlComputationRepository:
    """Keeps computations inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, wanted: ComputationId) -> Computation | None:
        """Returns a computation."""
        row = (await self._connection.execute(_ONE, _named(wanted))).one_or_none()
        return _to_computation(row) if row else None

    async def add(self, new: Computation) -> None:
        """Stores a new computation.

        Raises:
            DatabaseConflictError: Somebody else began it concurrently.
        """
        key = {
            "study": new.id.study,
            "propose_alias": new.id.propose_alias,
            "computation_key": new.id.key,
        }
        statement = upsert(self._connection, computation).on_conflict_do_nothing()
        if (await self._connection.execute(statement, key | _changing(new))).rowcount != 1:
            raise DatabaseConflictError(f"computation {new.id.key} was begun concurrently")

    async def save(self, changed: Computation, previous_revision: int) -> None:
        """Replaces a computation.

        Raises:
            DatabaseConflictError: It is not at the previous revision any more.
        """
        values = {f"new_{name}": value for name, value in _changing(changed).items()}
        values |= _named(changed.id) | {"of_revision": previous_revision}
        if (await self._connection.execute(_REPLACE, values)).rowcount != 1:
            raise DatabaseConflictError(f"computation {changed.id.key} has changed")

    async def remove(self, old: Computation) -> None:
        """Forgets a computation that nobody does any more, or whose result is not to be trusted.

        Raises:
            DatabaseConflictError: It has changed concurrently.
        """
        known = _named(old.id) | {"of_revision": old.revision}
        if (await self._connection.execute(_REMOVE, known)).rowcount != 1:
            raise DatabaseConflictError(f"computation {old.id.key} has changed")

    async def remember(self, inputs: KeyedInputs) -> None:
        """Keeps what a key was computed from."""
        values = {"computation_key": inputs.key, "document": zlib.compress(inputs.document)}
        statement = upsert(self._connection, computation_inputs).on_conflict_do_nothing()
        await self._connection.execute(statement, values)

    async def inputs(self, keys: Collection[str]) -> dict[str, bytes]:
        """Returns what keys were computed from, as far as it is known."""
        found: dict[str, bytes] = {}
        ordered = sorted(keys)
        for start in range(0, len(ordered), _CHUNK):
            wanted = ordered[start : start + _CHUNK]
            query = select(computation_inputs).where(computation_inputs.c.computation_key.in_(wanted))
            rows = await self._connection.execute(query)
            found |= {row.computation_key: zlib.decompress(row.document) for row in rows}
        return found

    async def finished(self, study: str, before: str, limit: int) -> list[Computation]:
        """Returns computations with a result whose leader is older; a study's first, then newest."""
        query = (
            select(computation)
            .where(computation.c.manifest_digest != "", computation.c.leader < before)
            .order_by(case((computation.c.study == study, 0), else_=1), computation.c.leader.desc())
            .limit(limit)
        )
        return [_to_computation(row) for row in await self._connection.execute(query)]


def _to_computation(row: Any) -> Computation:
    return Computation(
        ComputationId(row.study, row.propose_alias, row.computation_key),
        row.leader,
        row.manifest_digest,
        row.revision,
        ResultDigests(row.model_digest, row.scores_digest),
        Worth(row.cpu_seconds, row.cost_usd),
        row.finish_time,
    )


def _changing(computed: Computation) -> dict[str, Any]:
    worth = computed.worth
    return {
        "leader": computed.leader,
        "manifest_digest": computed.manifest_digest,
        "revision": computed.revision,
        "model_digest": computed.digests.model,
        "scores_digest": computed.digests.scores,
        "cpu_seconds": worth.cpu_seconds,
        "cost_usd": worth.cost_usd,
        "finish_time": computed.finish_time,
    }


def _named(wanted: ComputationId) -> dict[str, Any]:
    return {"of_study": wanted.study, "of_alias": wanted.propose_alias, "of_key": wanted.key}
