"""Attempts from before 0002 keep the process that executes them."""

from pathlib import Path

import pytest
from mltrainer_common.database import open_database
from mltrainer_common.migrations import migrate
from mltrainer_trainer.adapters.processes import ProcessId
from mltrainer_trainer.adapters.queries import SqlTrainerQueries
from mltrainer_trainer.domain.attempt import AttemptLimits
from sqlalchemy import text

VERSIONS = Path(__file__).parents[2] / "src/mltrainer_trainer/adapters/migrations/versions"
_INSERT = """
INSERT INTO attempt (name, training, number, allocation, fencing_token, node, study, computation_key,
 as_of_time, lease_expire_time, spec, cpus, cpu_seconds_limit, memory_bytes_limit, traceparent, state,
 revision, progress, stage, pid, process_start_mark, process_gone, discarded, accept_time)
 VALUES ('trainings/t1/attempts/1', 'trainings/t1', 1, 'allocations/a1', 1, 'nodes/n', 'studies/s', 'k',
 '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', :spec, 1, 0, 0, '', 'EXECUTING',
 2, 0, '', 4711, '123456', :gone, :gone, '2026-01-01 00:00:00+00')
"""


@pytest.fixture
def first_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    package = tmp_path / "first_trainer_release" / "versions"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "0001_initial.py").write_text((VERSIONS / "0001_initial.py").read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    return "first_trainer_release"


async def test_a_process_of_the_release_before_is_known_and_asks_for_nothing_new(
    database_url: str, first_release: str
) -> None:
    await migrate(database_url, first_release)
    async with open_database(database_url) as database, database.transaction() as connection:
        await connection.execute(text(_INSERT), {"spec": b"", "gone": False})

    await migrate(database_url, "mltrainer_trainer.adapters.migrations")

    async with open_database(database_url) as database:
        (attempt,) = await SqlTrainerQueries(database).live()
    assert attempt.execution_id == str(ProcessId(4711, "123456"))
    assert attempt.placement.limits == AttemptLimits(cpus=1.0)
    assert attempt.placement.queue == "default"
