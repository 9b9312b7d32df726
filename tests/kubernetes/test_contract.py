"""The backend `kubernetes` keeps the promises of the port on a real cluster."""

from typing import Any

import pytest
from mltrainer_testkit.execution_backends import CHECKS, CLUSTER_CHECKS

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(180)]


@pytest.mark.parametrize("check", [pytest.param(it, id=it.__name__) for it in (*CHECKS, *CLUSTER_CHECKS)])
async def test_a_cluster_keeps_the_promises_of_the_port(machine: Any, check: Any) -> None:
    await check(machine)
