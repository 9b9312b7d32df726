from pathlib import Path

import pytest
from mltrainer_common.errors import StartupError
from mltrainer_scheduler.adapters.price_file import read_prices

GOOD = "on_demand = 0.04\nspot = 0.01\n"


@pytest.mark.parametrize(
    "memory",
    [
        pytest.param("", id="missing"),
        pytest.param("[memory_gib_hour]\non_demand = 0.004\n", id="no spot price"),
        pytest.param("[memory_gib_hour]\non_demand = nan\nspot = 0.001\n", id="not a number"),
        pytest.param("[memory_gib_hour]\non_demand = 0.004\nspot = inf\n", id="infinite"),
        pytest.param("[memory_gib_hour]\non_demand = -1.0\nspot = 0.001\n", id="negative"),
        pytest.param('[memory_gib_hour]\non_demand = "dear"\nspot = 0.001\n', id="text"),
    ],
)
def test_a_price_file_without_every_price_is_refused_at_the_start(tmp_path: Path, memory: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(f"[cpu_hour]\n{GOOD}{memory}")

    with pytest.raises(StartupError, match="is no price file"):
        read_prices(path)
