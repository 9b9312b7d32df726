"""What the tests of the trainer share."""

from datetime import UTC, datetime, timedelta

import pytest
from mltrainer_trainer.domain.attempt import AttemptLimits, Placement


@pytest.fixture
def placement() -> Placement:
    """Gives the placement of a first attempt whose lease holds for thirty seconds of the manual clock."""
    now = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
    return Placement(
        training="trainings/t1",
        number=1,
        allocation="allocations/a1",
        fencing_token=1,
        node="nodes/local-0",
        study="studies/vol5",
        computation_key="key",
        as_of_time=now - timedelta(days=1),
        lease_expire_time=now + timedelta(seconds=30),
        spec=b"",
        limits=AttemptLimits(cpus=1, cpu_seconds=100, memory_bytes=1000),
    )
