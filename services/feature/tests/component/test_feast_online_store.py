import subprocess
import sys
from pathlib import Path

import pytest
from mltrainer_testkit.redis import RedisServer

CHECKS = Path(__file__).with_name("feast_online_checks.py")


@pytest.mark.integration
def test_every_claim_about_the_online_store_holds_through_feast(redis: RedisServer) -> None:
    # In a process of its own: importing Feast takes seconds and changes warning filters.
    command = [sys.executable, str(CHECKS), redis.url]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)

    assert finished.returncode == 0, finished.stderr[-6_000:]
    assert "11 of 11 hold" in finished.stdout
