"""Keeps served vectors in SQL, and reads versions of rows beside them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from mltrainer_common.database import Database, upsert
from sqlalchemy import delete, func, select

from mltrainer_feature.adapters.frames import from_microseconds, read_blocks, to_microseconds
from mltrainer_feature.adapters.tables import row_block, served_vector
from mltrainer_feature.domain.rows import Rows
from mltrainer_feature.domain.skew import ServedVector

_SEPARATOR = "\n"


@dataclass(frozen=True, slots=True)
class SqlServedVectors:
    """Implements `ServedVectors`."""

    database: Database

    async def add(self, vectors: Sequence[ServedVector], kept_count: int) -> None:
        """Stores vectors, each once, and forgets all but the newest ones."""
        sequence = served_vector.c.sequence
        async with self.database.transaction() as connection:
            statement = upsert(connection, served_vector).on_conflict_do_nothing(
                index_elements=["event_id", "row_number"]
            )
            await connection.execute(statement, [_record(vector) for vector in vectors])
            newest = select(func.max(sequence)).scalar_subquery()
            await connection.execute(delete(served_vector).where(sequence <= newest - kept_count))

    async def newest(self, limit: int, version: str) -> list[ServedVector]:
        """Returns the newest vectors, of one model version where that is given."""
        query = select(served_vector).order_by(served_vector.c.sequence.desc()).limit(limit)
        if version:
            query = query.where(served_vector.c.version == version)
        async with self.database.snapshot() as connection:
            return [_vector(record) for record in await connection.execute(query)]

    async def row_versions(self, symbols: Sequence[str], since: datetime, until: datetime) -> Rows:
        """Returns every version of the rows of symbols between two event times."""
        names = ("event_time", "created_time", "row_count", "symbols", "features")
        query = select(*(row_block.c[name] for name in names)).where(
            row_block.c.event_time.between(to_microseconds(since), to_microseconds(until))
        )
        async with self.database.snapshot() as connection:
            blocks = (await connection.execute(query)).all()
        return await asyncio.to_thread(read_blocks, blocks, symbols)


def _record(vector: ServedVector) -> dict[str, Any]:
    return {
        "event_id": vector.event_id,
        "row_number": vector.row,
        "version": vector.version,
        "symbol": vector.symbol,
        "event_time": None if vector.event_time is None else to_microseconds(vector.event_time),
        "served_time": to_microseconds(vector.served_time),
        "feature_names": _SEPARATOR.join(vector.feature_names),
        "features": np.array(vector.values, dtype=np.float64).tobytes(),
    }


def _vector(record: Any) -> ServedVector:
    return ServedVector(
        record.event_id,
        record.row_number,
        record.version,
        record.symbol,
        None if record.event_time is None else from_microseconds(record.event_time),
        from_microseconds(record.served_time),
        tuple(record.feature_names.split(_SEPARATOR)),
        tuple(np.frombuffer(record.features, dtype=np.float64).tolist()),
    )
