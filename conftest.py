"""Settings of every test in the repository."""

import pytest
from hypothesis import HealthCheck, settings

# Machines that run tests are shared: time says nothing about correctness there.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# A build says the same of the same tree twice; looking for new examples is asked for.
settings.register_profile("build", settings.get_profile("search"), derandomize=True)
settings.load_profile("build")


def pytest_configure(config: pytest.Config) -> None:
    """Searches where a seed is given; `--hypothesis-profile=search` does so with a seed of its own choice."""
    if config.getoption("hypothesis_seed") is not None:
        settings.load_profile("search")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves a second try to tests with real processes, sockets and threads (ADR 0091)."""
    for item in items:
        if "component" not in item.path.parts and item.get_closest_marker("integration") is None:
            item.add_marker(pytest.mark.flaky(reruns=0))
