"""Makes empty databases on a PostgreSQL server."""

import uuid


async def create_postgres_database(server_url: str) -> str:
    """Creates a database with a name of its own and returns its URL."""
    import asyncpg

    name = f"test_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return f"{server_url.rpartition('/')[0]}/{name}"
