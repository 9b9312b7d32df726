"""Makes empty databases on a PostgreSQL server."""

import asyncio
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncpg import Connection

_START_TIMEOUT_S = 30.0


async def create_postgres_database(server_url: str) -> str:
    """Creates a database with a name of its own and returns its URL."""
    name = f"test_{uuid.uuid4().hex}"
    async with asyncio.timeout(_START_TIMEOUT_S):
        connection = await _connect(server_url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return f"{server_url.rpartition('/')[0]}/{name}"


async def _connect(server_url: str) -> "Connection":
    import asyncpg

    while True:
        try:
            return await asyncpg.connect(server_url)
        except asyncpg.CannotConnectNowError:
            # A server that has just begun to listen says so while it still starts.
            await asyncio.sleep(0.05)
