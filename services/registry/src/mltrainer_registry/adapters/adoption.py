"""Moves the files of versions from among the datasets, where they once were, to their own place."""

import asyncio
from collections.abc import Iterator, Sequence

from mltrainer_common.content_store import ContentNotFoundError, ContentStore
from mltrainer_common.database import Database
from sqlalchemy import select

from mltrainer_registry.adapters import tables


async def adopt_contents(database: Database, old: ContentStore, new: ContentStore) -> int:
    """Copies what uploads claim, once: a place that holds something is left alone. Returns how many files."""
    if await asyncio.to_thread(_holds_any, new):
        return 0
    column = tables.upload_file.c.sha256
    async with database.snapshot() as connection:
        digests = (await connection.execute(select(column).distinct().order_by(column))).scalars().all()
    return await asyncio.to_thread(_copy, digests, old, new)


def _holds_any(store: ContentStore) -> bool:
    contents: Iterator[object] = store.contents()
    return next(contents, None) is not None


def _copy(digests: Sequence[str], old: ContentStore, new: ContentStore) -> int:
    copied = 0
    for digest in digests:
        try:
            new.put_stream(old.stream(digest), digest)
        except ContentNotFoundError:
            continue  # a download will say that it is lost
        copied += 1
    return copied
