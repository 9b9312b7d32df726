"""Offers the fixtures of the platform's tests to pytest.

`fake_broker`, `manual_clock`; `kafka` (bootstrap servers of a real broker, once per session);
`postgres_server_url`; `postgres_url` (an empty database); `database_url` (an empty database: the test runs on
SQLite and on PostgreSQL); `redis` (an empty server of the test's own); `kubernetes_cluster` (a real control
plane and node, once per session).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mltrainer_testkit.clocks import ManualClock
    from mltrainer_testkit.fake_broker import FakeBroker
    from mltrainer_testkit.kubernetes import Cluster
    from mltrainer_testkit.redis import RedisServer


@pytest.fixture
def manual_clock() -> "ManualClock":
    """Gives a clock that moves only when told."""
    from mltrainer_testkit.clocks import ManualClock

    return ManualClock()


@pytest.fixture
async def fake_broker() -> "FakeBroker":
    """Gives an empty broker in memory."""
    from mltrainer_testkit.fake_broker import FakeBroker

    return FakeBroker()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Gives the bootstrap servers of a real broker."""
    from mltrainer_testkit.kafka import kafka_broker

    with kafka_broker(tmp_path_factory.mktemp("kafka")) as bootstrap_servers:
        yield bootstrap_servers


@pytest.fixture(scope="session")
def postgres_server_url() -> Iterator[str]:
    """Gives the URL of a PostgreSQL server; skips, with the reason, where there is none."""
    from mltrainer_testkit.postgres import PostgresNotFoundError, postgres_server

    try:
        with postgres_server() as url:
            yield url
    except PostgresNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture
async def postgres_url(postgres_server_url: str) -> str:
    """Gives the URL of an empty database."""
    from mltrainer_testkit.databases import create_postgres_database

    return await create_postgres_database(postgres_server_url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Gives the URL of an empty database, of each product in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/test.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator["RedisServer"]:
    """Gives an empty Redis server that the test may kill; skips, with the reason, where there is none."""
    from mltrainer_testkit.redis import RedisNotFoundError, redis_server

    try:
        with redis_server(tmp_path_factory.mktemp("redis")) as server:
            yield server
    except RedisNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def kubernetes_cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["Cluster"]:
    """Gives a cluster to tests chosen by their marker; skips, with the reason, where there is none."""
    from mltrainer_testkit.go_programs import ProgramNotFoundError
    from mltrainer_testkit.kubernetes import find_or_build_cluster, node_obstacle

    if "kubernetes" not in request.config.option.markexpr.replace("not kubernetes", ""):
        pytest.skip("takes minutes, and builds Kubernetes first: choose it with -m kubernetes")
    if obstacle := node_obstacle():
        pytest.skip(obstacle)
    components = request.config.rootpath / "scripts" / "kubernetes" / "components"
    try:
        cluster = find_or_build_cluster(components, tmp_path_factory.mktemp("cluster"))
    except ProgramNotFoundError as error:
        pytest.skip(str(error))
    try:
        cluster.start_control_plane()
        cluster.start_node()
        yield cluster
    finally:
        cluster.stop()
