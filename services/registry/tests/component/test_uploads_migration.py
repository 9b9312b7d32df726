"""Uploads from before 0002 keep their files, and count for the models of their versions."""

import json
from pathlib import Path
from typing import Any

import pytest
from mltrainer_common.database import open_database
from mltrainer_common.migrations import migrate
from mltrainer_registry.adapters.uploads import SqlUploadRepository
from sqlalchemy import text

VERSIONS = Path(__file__).parents[2] / "src/mltrainer_registry/adapters/migrations/versions"
MANIFEST = {
    "digest": "m" * 64,
    "files": [
        {"path": "a", "sha256": "a" * 64, "size_bytes": 5},
        {"path": "b", "sha256": "b" * 64, "size_bytes": 7},
        {"path": "c", "sha256": "a" * 64, "size_bytes": 5},
    ],
}
_INSERT_UPLOAD = (
    "INSERT INTO upload (training, manifest_digest, manifest) VALUES (:training, :digest, :manifest)"
)
LINEAGE = {
    "training": "trainings/t1",
    "attempt": 1,
    "study": "studies/vol5",
    "dataset": "datasets/d1",
    "dataset_sha256": "d" * 64,
    "feature_view_versions": ["bars@1"],
    "code_digest": "c" * 64,
    "environment_digest": "e" * 64,
    "computation_key": "k" * 64,
    "as_of_time": None,
}
_INSERT_VERSION = """
INSERT INTO model_version (model, number, state, training, manifest, lineage, target_kind, horizon_bars,
 verdict, metrics, report, create_time, revision, state_revision)
 VALUES ('vol5', 1, 'ACTIVE', 'trainings/t1', :manifest, :lineage, 'X', 1,
 'EDGE', '[]', :report, '2026-01-01 00:00:00+00', 1, 1)
"""


@pytest.fixture
def first_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    package = tmp_path / "first_release" / "versions"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "0001_initial.py").write_text((VERSIONS / "0001_initial.py").read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    return "first_release"


async def test_old_uploads_are_claimed_and_counted(empty_url: str, first_release: str) -> None:
    await migrate(empty_url, first_release)
    async with open_database(empty_url) as database, database.transaction() as connection:
        for training in ("trainings/t1", "trainings/t2"):
            row = {"training": training, "digest": "m" * 64, "manifest": json.dumps(MANIFEST)}
            await connection.execute(text(_INSERT_UPLOAD), row)
        values: dict[str, Any] = {"manifest": json.dumps(MANIFEST), "report": b""}
        values["lineage"] = json.dumps(LINEAGE)
        await connection.execute(text(_INSERT_VERSION), values)

    await migrate(empty_url, "mltrainer_registry.adapters.migrations")

    async with open_database(empty_url) as database, database.transaction() as connection:
        uploads = SqlUploadRepository(connection)
        used = [await uploads.usage(model, []) for model in ("vol5", "")]
        claimed = await uploads.claimed(["a" * 64, "b" * 64, "d" * 64])
        complete = await connection.execute(text("SELECT count(*) FROM upload WHERE is_complete"))
        assert complete.scalar_one() == 2
    assert used == [(12, 0), (12, 0)]
    assert claimed == {"a" * 64, "b" * 64}
