"""Versions from before 0003 are found as new ones are; policies that were changed stay as they were."""

import json
from pathlib import Path

import pytest
from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer_common.database import open_database
from mltrainer_common.migrations import migrate
from mltrainer_registry.adapters.governance_reader import SqlGovernanceReader
from mltrainer_registry.adapters.lineage_reader import SqlLineageReader
from mltrainer_registry.adapters.search import SqlSearch
from mltrainer_registry.domain.lineage import NodeKind, Origin
from mltrainer_registry.domain.names import PolicyName
from mltrainer_registry.wire.searches import to_version_search
from sqlalchemy import text

VERSIONS = Path(__file__).parents[2] / "src/mltrainer_registry/adapters/migrations/versions"
LINEAGE = {
    "training": "trainings/t1",
    "attempt": 1,
    "study": "studies/vol5",
    "dataset": "datasets/d1",
    "dataset_sha256": "",
    "feature_view_versions": ["bars@1", "vol@2"],
    "code_digest": "c" * 64,
    "environment_digest": "e" * 64,
    "computation_key": "k" * 64,
    "as_of_time": None,
}
INSERT_VERSION = """
INSERT INTO model_version (model, number, state, training, manifest, lineage, target_kind, horizon_bars,
 verdict, metrics, report, create_time, revision, state_revision)
 VALUES ('vol5', 1, 'ACTIVE', 'trainings/t1', '{"digest": "m", "files": []}', :lineage, 'X', 1,
 'EDGE', '[["r2", 0.5]]', :report, '2026-01-01 00:00:00+00', 1, 1)
"""


@pytest.fixture
async def upgraded(empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Returns a database of the first release, with a version and a changed policy, brought to this one."""
    package = tmp_path / "release_before" / "versions"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "0001_initial.py").write_text((VERSIONS / "0001_initial.py").read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    await migrate(empty_url, "release_before")
    async with open_database(empty_url) as database, database.transaction() as connection:
        values = {"lineage": json.dumps(LINEAGE), "report": b""}
        await connection.execute(text(INSERT_VERSION), values)
        own = {"conditions": json.dumps([{"condition": "verdict_is_edge"}])}
        await connection.execute(
            text("UPDATE gate_policy SET conditions = :conditions WHERE alias = '*'"), own
        )
    await migrate(empty_url, "mltrainer_registry.adapters.migrations")
    return empty_url


async def test_old_versions_are_found_by_what_they_were_made_of(upgraded: str) -> None:
    wanted = 'metrics.r2 = 0.5 AND feature_view_version = "vol@2" AND NOT tags:env'
    search = to_version_search(api.ListModelVersionsRequest(filter=wanted), None)
    async with open_database(upgraded) as database:
        (version,) = (await SqlSearch(database).versions(None, search, 10, "")).items
        origin = Origin(NodeKind.DATASET, "datasets/d1")
        (made,) = (await SqlLineageReader(database).descendants(origin, 10, "")).items

    assert (made.version, version.result.metrics, version.result.errors) == (
        "models/vol5/versions/1",
        (("r2", 0.5),),
        (),
    )
    assert (version.owner, dict(version.details.tags), version.signature.inputs) == ("", {}, ())


async def test_a_policy_that_somebody_has_changed_is_kept_and_the_shipped_one_learns(upgraded: str) -> None:
    async with open_database(upgraded) as database:
        reader = SqlGovernanceReader(database)
        changed = await reader.policy(PolicyName("vol5", "blue"))
        shipped = await reader.policy(PolicyName("vol5", "champion"))

    assert changed is not None
    assert shipped is not None
    assert [one.kind for one in changed.policy.conditions] == ["verdict_is_edge"]
    assert [(one.kind, one.margin) for one in shipped.policy.conditions][-1] == (
        "not_worse_than_champion",
        0.02,
    )
