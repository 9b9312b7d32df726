"""What the registry promises when it is killed and when an alias goes back, on real processes, in short."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

PROOFS = Path(__file__).parents[2] / "benchmarks" / "registry"
TIMEOUT_S = 240.0

pytestmark = pytest.mark.integration


async def report_of(script: str, *arguments: str, environment: dict[str, str] | None = None) -> Any:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROOFS / script), *arguments),
        env={**os.environ, **(environment or {})},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    report = json.loads(output)
    assert process.returncode == 0, report
    return report


async def test_kills_amid_promotions_lose_and_double_nothing(kafka: str, postgres_server_url: str) -> None:
    servers = {"MLTRAINER_TEST_KAFKA": kafka, "MLTRAINER_TEST_POSTGRES_URL": postgres_server_url}

    report = await report_of("crash.py", "--promotions", "60", "--kills", "2", environment=servers)

    assert (report["promotions"], report["kills"]) == (60, 2)
    assert report["retried"]
    assert report["lost_events"] == report["doubled_events"] == 0


async def test_serving_follows_a_rollback_within_a_second_and_fails_no_call() -> None:
    report = await report_of("rollback.py", "--rollbacks", "4")

    assert report["switched_after_ms"]["maximum"] < 1_000
    assert (report["rollbacks"], report["failed_calls"]) == (4, 0)
    assert report["calls"] > 4
