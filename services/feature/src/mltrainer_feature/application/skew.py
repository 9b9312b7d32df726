"""Keeps a sample of what models were given, and compares it with what was known then."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from mltrainer_feature.domain.errors import InvalidRequestError, Violation
from mltrainer_feature.domain.rows import Rows
from mltrainer_feature.domain.skew import ServedVector, SkewReport, compare

MAX_COMPARED = 10_000
# What is older than five days is not served as PRESENT; a week covers it with the days before.
_LOOK_BACK = timedelta(days=7)


class ServedVectors(Protocol):
    """Keeps the newest served vectors, and reads the versions of rows."""

    async def add(self, vectors: Sequence[ServedVector], kept_count: int) -> None:
        """Stores vectors, each once, and forgets all but the newest ones."""
        ...

    async def newest(self, limit: int, version: str) -> list[ServedVector]:
        """Returns the newest vectors, of one model version where that is given."""
        ...

    async def row_versions(self, symbols: Sequence[str], since: datetime, until: datetime) -> Rows:
        """Returns every version of the rows of symbols between two event times."""
        ...


@dataclass(frozen=True, slots=True)
class RecordServedVectorsHandler:
    """Keeps a share of the vectors; which ones follows from their event, so a repetition keeps the same."""

    served: ServedVectors
    share: float
    kept_count: int

    async def __call__(self, vectors: Sequence[ServedVector]) -> None:
        sampled = [vector for vector in vectors if vector.symbol and self._is_sampled(vector.event_id)]
        if sampled:
            await self.served.add(sampled, self.kept_count)

    def _is_sampled(self, event_id: str) -> bool:
        digest = hashlib.blake2b(event_id.encode(), digest_size=4).digest()
        return int.from_bytes(digest) < self.share * 2**32


@dataclass(frozen=True, slots=True)
class CompareServedVectorsHandler:
    """Compares the newest kept vectors with the rows as they were known when each was served."""

    served: ServedVectors

    async def __call__(self, limit: int = 0, version: str = "") -> SkewReport:
        """Compares.

        Raises:
            InvalidRequestError: More are asked for than can be compared at once.
        """
        if not 0 <= limit <= MAX_COMPARED:
            raise InvalidRequestError([Violation("max_vectors", f"must lie between 1 and {MAX_COMPARED}")])
        vectors = await self.served.newest(limit or MAX_COMPARED, version)
        if not vectors:
            return SkewReport({})
        moments = [vector.event_time or vector.served_time for vector in vectors]
        symbols = sorted({vector.symbol for vector in vectors})
        until = max(vector.served_time for vector in vectors)
        rows = await self.served.row_versions(symbols, min(moments) - _LOOK_BACK, max(until, *moments))
        return await asyncio.to_thread(compare, vectors, rows)
