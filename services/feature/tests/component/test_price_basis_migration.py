"""Bars and datasets from before 0004 go on: most bars of a symbol say whether its prices are adjusted."""

import json
import shutil
from pathlib import Path

import pytest
from mltrainer_common.database import open_database
from mltrainer_common.migrations import migrate
from mltrainer_feature.adapters.state_repositories import SqlDatasetRepository
from sqlalchemy import text

VERSIONS = Path(__file__).parents[2] / "src/mltrainer_feature/adapters/migrations/versions"
BARS = {"MOSTLY": (True, True, False), "HALF": (True, False), "RAW": (False, False, True)}
INSERT_BAR = """
INSERT INTO bar (symbol, event_time, knowledge_time, close, adjusted)
VALUES (:symbol, :time, :time, 1.0, :adjusted)
"""
INSERT_DATASET = """
INSERT INTO dataset (name, spec, view_revisions, state, revision, sha256, uri, row_count, progress, error,
 create_time)
VALUES ('datasets/d1', :spec, '[]', 'ACTIVE', 1, 'd', 'file', 7, 1.0, '', '2026-01-01 00:00:00')
"""
SPEC = {
    "symbols": ["RAW"],
    "feature_views": [],
    "as_of": None,
    "target_kind": "DIRECTION",
    "horizon_bars": 1,
    "start_time": None,
}


@pytest.fixture
async def upgraded(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Returns a database of the release before, with bars and a dataset, brought to this one."""
    package = tmp_path / "release_before" / "versions"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    for file in VERSIONS.glob("000[123]_*.py"):
        shutil.copy(file, package)
    monkeypatch.syspath_prepend(str(tmp_path))
    await migrate(database_url, "release_before")
    async with open_database(database_url) as database, database.transaction() as connection:
        for symbol, flags in BARS.items():
            records = [
                {"symbol": symbol, "time": time, "adjusted": adjusted} for time, adjusted in enumerate(flags)
            ]
            await connection.execute(text(INSERT_BAR), records)
        await connection.execute(text(INSERT_DATASET), {"spec": json.dumps(SPEC)})
    await migrate(database_url, "mltrainer_feature.adapters.migrations")
    return database_url


async def test_a_symbol_with_mixed_bars_is_what_most_of_them_say(upgraded: str) -> None:
    async with open_database(upgraded) as database, database.snapshot() as connection:
        found = await connection.execute(text("SELECT symbol, adjusted FROM price_basis"))
        bases = {symbol: bool(adjusted) for symbol, adjusted in found}

    assert bases == {"MOSTLY": True, "HALF": True, "RAW": False}


async def test_an_older_dataset_was_last_used_when_it_was_made(upgraded: str) -> None:
    async with open_database(upgraded) as database, database.snapshot() as connection:
        dataset = await SqlDatasetRepository(connection).get("datasets/d1")

    assert dataset is not None
    assert dataset.used_time == dataset.create_time
    assert (dataset.universe, dataset.row_count) == (None, 7)
