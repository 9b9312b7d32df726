import asyncio
import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mltrainer_common.database import open_database
from mltrainer_common.errors import StartupError
from mltrainer_common.migrations import SchemaTooNewError, migrate
from sqlalchemy import text

FIRST = """
import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade():
    op.create_table("thing", sa.Column("name", sa.String, primary_key=True))
    op.execute("INSERT INTO thing (name) VALUES ('first')")
"""
SECOND = """
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.add_column("thing", sa.Column("weight", sa.Integer))
    op.execute("UPDATE thing SET weight = 7")
"""
_numbers = itertools.count()

MakePackage = Callable[..., str]


@pytest.fixture
def make_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePackage:
    monkeypatch.syspath_prepend(tmp_path)

    def make(**versions: str) -> str:
        name = f"migrations_of_test_{next(_numbers)}"
        folder = tmp_path / name / "versions"
        folder.mkdir(parents=True)
        (tmp_path / name / "__init__.py").touch()
        for stem, source in versions.items():
            (folder / f"{stem.removeprefix('v')}.py").write_text(source)
        return name

    return make


async def weights(url: str) -> list[int]:
    async with open_database(url) as database, database.snapshot() as connection:
        return list((await connection.execute(text("SELECT weight FROM thing"))).scalars())


async def test_every_version_runs_once_and_in_order(database_url: str, make_package: MakePackage) -> None:
    package = make_package(v0001_initial=FIRST, v0002_weight=SECOND)

    await migrate(database_url, package)
    await migrate(database_url, package)

    assert await weights(database_url) == [7]


async def test_a_later_release_continues_where_the_earlier_stopped(
    database_url: str, make_package: MakePackage
) -> None:
    await migrate(database_url, make_package(v0001_initial=FIRST))

    await migrate(database_url, make_package(v0001_initial=FIRST, v0002_weight=SECOND))

    assert await weights(database_url) == [7]


async def test_processes_that_start_together_migrate_once(
    database_url: str, make_package: MakePackage
) -> None:
    package = make_package(v0001_initial=FIRST, v0002_weight=SECOND)
    await migrate(database_url, make_package(v0001_initial=FIRST))

    await asyncio.gather(*(migrate(database_url, package) for _ in range(4)))

    assert await weights(database_url) == [7]


async def test_a_newer_schema_than_the_code_is_refused_with_what_to_do(
    database_url: str, make_package: MakePackage
) -> None:
    await migrate(database_url, make_package(v0001_initial=FIRST, v0002_weight=SECOND))

    with pytest.raises(SchemaTooNewError, match=r"schema 0002.*ends at 0001: install the release"):
        await migrate(database_url, make_package(v0001_initial=FIRST))


async def test_a_failed_upgrade_leaves_nothing_behind(database_url: str, make_package: MakePackage) -> None:
    broken = SECOND + "    raise ZeroDivisionError\n"
    await migrate(database_url, make_package(v0001_initial=FIRST))

    with pytest.raises(ZeroDivisionError):
        await migrate(database_url, make_package(v0001_initial=FIRST, v0002_weight=broken))
    await migrate(database_url, make_package(v0001_initial=FIRST, v0002_weight=SECOND))

    assert await weights(database_url) == [7]


async def test_an_unwritable_place_is_a_start_up_error(tmp_path: Path, make_package: MakePackage) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StartupError, match="free disk space"):
        await migrate(f"sqlite:///{tmp_path}/file/x.db", make_package(v0001_initial=FIRST))


async def test_a_package_without_versions_is_refused(make_package: MakePackage, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="NNNN"):
        await migrate(f"sqlite:///{tmp_path}/x.db", make_package())
    with pytest.raises(ModuleNotFoundError):
        await migrate(f"sqlite:///{tmp_path}/x.db", "mltrainer_absent")


async def test_a_database_at_its_newest_revision_costs_no_import_of_alembic(
    tmp_path: Path, make_package: MakePackage
) -> None:
    url, package = f"sqlite:///{tmp_path}/x.db", make_package(v0001_initial=FIRST)
    await migrate(url, package)
    script = (
        "import asyncio, sys; from mltrainer_common.migrations import migrate;"
        f"asyncio.run(migrate({url!r}, {package!r})); sys.exit('alembic' in sys.modules)"
    )

    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script], cwd=tmp_path, check=False)

    assert done.returncode == 0
