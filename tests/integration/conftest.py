from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from mltrainer_testkit.stack import AS_OF, RunningStack, running_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """Gives a running stack that the tests of a module share; its market is where the loaded bars end."""
    market = f"replay:{(AS_OF + timedelta(days=1)).isoformat()}@{datetime.now(UTC).isoformat()}x1"
    environment = {"MLTRAINER_MARKET_CLOCK": market}
    with running_stack(tmp_path_factory.mktemp("stack"), None, environment) as running:
        yield running
