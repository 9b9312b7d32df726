"""Brings a service's database to the schema of its code, once, however many processes start together."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from mltrainer_common.database import Database, DatabaseDialect, DatabaseUnavailableError, open_database
from mltrainer_common.errors import StartupError

_VERSION_FILE = re.compile(r"(?P<revision>\d{4})_\w+\.py")
# Any constant that nothing else in the database locks.
_ADVISORY_LOCK = 0x6D6C747261696E65


class SchemaTooNewError(StartupError):
    """The database was migrated by a newer release than this code."""


async def migrate(url: str, package: str) -> None:
    """Runs `versions/NNNN_*.py` of a package such as `mltrainer_scheduler.adapters.migrations`.

    A version file needs `revision = "0001"` (the digits its name starts with), `down_revision = None` and
    `upgrade()` that uses `alembic.op`; there is no env.py and no ini file. All of it is one transaction, so
    processes that start together wait for the first, and a failed upgrade leaves nothing behind.

    Raises:
        SchemaTooNewError: The database is at a revision that the package does not know.
        StartupError: The database cannot be reached or written.
    """
    try:
        await _migrate(url, _directory(package))
    except DatabaseUnavailableError as error:
        raise StartupError(
            f"{error}; make it reachable and writable, with free disk space, and start again"
        ) from error


async def _migrate(url: str, directory: Path) -> None:
    known = _revisions(directory)
    async with open_database(url) as database, _turn(database), database.transaction() as connection:
        current = await connection.run_sync(_current_revision)
        if current is not None and current not in known:
            raise SchemaTooNewError(
                f"{database.writer.url.render_as_string()} has schema {current}, but this release ends at "
                f"{known[-1]}: install the release that wrote it, or restore a backup from before the upgrade"
            )
        # Alembic costs half a second to import: only where there is something to do.
        if current != known[-1]:
            await connection.run_sync(_upgrade, directory)


def _directory(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is no package with migrations")
    return Path(next(iter(spec.submodule_search_locations)))


def _revisions(directory: Path) -> list[str]:
    names = (_VERSION_FILE.fullmatch(path.name) for path in (directory / "versions").iterdir())
    revisions = sorted(match["revision"] for match in names if match)
    if not revisions:
        raise FileNotFoundError(f"{directory}/versions holds no NNNN_*.py")
    return revisions


@asynccontextmanager
async def _turn(database: Database) -> AsyncIterator[None]:
    if database.dialect is DatabaseDialect.SQLITE:
        # The write transaction itself lets one process in at a time.
        yield
        return
    # On a connection of its own: the migrating transaction must take its snapshot after the wait.
    async with database.manual_transaction() as guard:
        await guard.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        yield


def _current_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _upgrade(connection: Connection, directory: Path) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(directory), version_locations=[str(directory / "versions")])

    def steps(revision: object, _context: object) -> object:
        return script._upgrade_revs("head", revision)  # type: ignore[arg-type]  # noqa: SLF001 - as alembic.command.upgrade does

    with EnvironmentContext(Config(), script, fn=steps) as environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()
