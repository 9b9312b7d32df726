"""Brings a service's database to the schema of its code, once, however many processes start together."""


class SchemaTooNewError(Exception):
    """The database was migrated by a newer release than this code."""


async def migrate(url: str, package: str) -> None:
    """Runs `versions/NNNN_*.py` of the package (for example `mltrainer_scheduler.adapters.migrations`) up to the newest.

    A version file needs `revision = "0001"` (the digits its name starts with), `down_revision = None` and
    `upgrade()` that uses `alembic.op`; there is no env.py and no ini file.

    Raises:
        SchemaTooNewError: The database is at a revision that the package does not know.
        DatabaseUnavailableError: The database cannot be reached or written.
    """
    raise NotImplementedError
