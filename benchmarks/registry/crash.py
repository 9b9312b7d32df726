"""Kills our registry with SIGKILL while aliases move, and compares what is left with what callers were told.

    python benchmarks/registry/crash.py --promotions 1000 --kills 20

Real processes: PostgreSQL, Kafka, one registry that is started again after each kill. Callers retry with
the same request id, a watcher resumes from the revision it has seen. Exit code 1 when anything is lost,
doubled or differs.
"""

import argparse
import asyncio
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import fill
import grpc
from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer.registry.v1.events_pb2 import AliasMoved
from mltrainer.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from mltrainer_common.authorization import Role
from mltrainer_common.tokens import TokenIssuer, load_or_create_token_key
from mltrainer_messaging.topics import topic_of
from mltrainer_testkit.databases import create_postgres_database
from mltrainer_testkit.kafka import kafka_broker
from mltrainer_testkit.ports import free_port
from mltrainer_testkit.postgres import postgres_server
from mltrainer_testkit.topics import tail

# The broker may be shared with other runs.
MODELS = tuple(f"crash-{secrets.token_hex(3)}" for _ in range(8))
VERSIONS = 4
PAUSE_S = 0.05
DRAIN_TIMEOUT_S = 60.0


@dataclass
class Victim:
    """A registry process on a port that stays the same."""

    folder: Path
    environment: dict[str, str]
    address: str
    child: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        command = [sys.executable, "-P", "-m", "mltrainer_registry"]
        with (self.folder / "registry.log").open("ab") as log:
            self.child = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def kill(self) -> None:
        assert self.child is not None
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()

    def stop(self) -> None:
        if self.child is not None and self.child.poll() is None:
            self.child.terminate()
            self.child.wait()


@dataclass
class Told:
    """What callers and the watcher were told."""

    promotions: list[tuple[str, str, int]] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    watched: dict[str, list[int]] = field(default_factory=dict)
    seen_revision: int = 0


class Session:
    """Calls the victim, again and again where it is down."""

    def __init__(self, address: str, token: str, told: Told) -> None:
        options = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200))
        self._stub: Any = RegistryServiceStub(grpc.aio.insecure_channel(address, options=options))
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._told = told

    async def call(self, method: str, request: Any) -> Any:
        while True:
            try:
                return await getattr(self._stub, method)(request, metadata=self._metadata, timeout=10)
            except grpc.aio.AioRpcError as error:
                if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                    raise
                self._told.failures[error.code().name] += 1
                await asyncio.sleep(PAUSE_S)

    async def promote(self, model: str, count: int) -> None:
        """Moves the alias of a model round its versions."""
        name = f"models/{model}/aliases/live"
        present = await self.call("GetAlias", api.GetAliasRequest(name=name))
        for n in range(count):
            number = int(present.version.rpartition("/")[2]) % VERSIONS + 1
            move = api.MoveAliasRequest(
                name=name,
                version=f"models/{model}/versions/{number}",
                expected_version=present.version,
                reason="crash",
                request_id=f"{model}-{n}",
            )
            present = await self.call("MoveAlias", move)
            self._told.promotions.append((name, present.version, present.revision))

    async def watch(self) -> None:
        """Follows every move, across kills."""
        while True:
            request = api.WatchModelsRequest(from_revision=self._told.seen_revision)
            try:
                async for item in self._stub.WatchModels(request, metadata=self._metadata):
                    if item.WhichOneof("change") == "alias":
                        self._told.watched.setdefault(item.alias.name, []).append(item.revision)
                    self._told.seen_revision = item.revision
            except grpc.aio.AioRpcError:
                await asyncio.sleep(PAUSE_S)


async def kill_again_and_again(victim: Victim, told: Told, promotions: int, kills: int) -> int:
    """Kills whenever another share of the promotions is done; the moment within the traffic is random."""
    done = 0
    for n in range(1, kills + 1):
        while len(told.promotions) < n * promotions // (kills + 1):  # noqa: ASYNC110 - a list tells nobody
            await asyncio.sleep(0.005)
        await asyncio.sleep(random.uniform(0, 0.05))
        victim.kill()
        done += 1
        victim.start()
    return done


async def scenario(options: argparse.Namespace, folder: Path, stack: ExitStack) -> dict[str, Any]:
    with ExitStack() as servers:
        server_url = stack.enter_context(postgres_server(is_durable=True))
        kafka = stack.enter_context(kafka_broker(folder / "kafka"))
        url = await create_postgres_database(server_url)
        port = free_port()
        victim = Victim(folder, environment(folder, url, kafka, port), f"127.0.0.1:{port}")
        servers.callback(victim.stop)
        victim.start()
        token = issued_token(folder)
        told, started_s = Told(), time.monotonic()
        session = Session(victim.address, token, told)
        await fill_when_up(session, victim.address, token, url)
        told.seen_revision = await head(url)
        first_revision = told.seen_revision
        watching = asyncio.create_task(session.watch())
        kills = await run_traffic(session, victim, told, options)
        report = await compare(told, url, kafka, first_revision, session)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return {
        "promotions": len(told.promotions),
        "kills": kills,
        "retried": dict(told.failures),
        **report,
        "seconds": round(time.monotonic() - started_s, 1),
    }


async def run_traffic(session: Session, victim: Victim, told: Told, options: argparse.Namespace) -> int:
    shares = [options.promotions // len(MODELS)] * len(MODELS)
    shares[0] += options.promotions - sum(shares)
    async with asyncio.TaskGroup() as group:
        killing = group.create_task(kill_again_and_again(victim, told, options.promotions, options.kills))
        for model, count in zip(MODELS, shares, strict=True):
            group.create_task(session.promote(model, count))
    return killing.result()


def environment(folder: Path, url: str, kafka: str, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "MLTRAINER_DATA_DIRECTORY": str(folder),
        "MLTRAINER_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "MLTRAINER_GRPC_PORT": str(port),
        "MLTRAINER_TRACE_RATIO": "0.01",
        "MLTRAINER_LOG_LEVEL": "warning",
        "MLTRAINER_REGISTRY_DATABASE_URL": url,
    }


def issued_token(folder: Path) -> str:
    key = load_or_create_token_key(folder / "token.key")
    return TokenIssuer(key, "services/bench", [Role.SERVICE, Role.OPERATOR]).token("registry")


async def fill_when_up(session: Session, address: str, token: str, url: str) -> None:
    await session.call("ListModels", api.ListModelsRequest())
    await fill.fill_registry(address, token, url, MODELS, VERSIONS)


async def head(url: str) -> int:
    ((revision,),) = await rows(url, "SELECT revision FROM registry_head")
    return int(revision)


async def rows(url: str, query: str, *arguments: Any) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        found: list[Any] = await connection.fetch(query, *arguments)
    finally:
        await connection.close()
    return found


async def compare(told: Told, url: str, kafka: str, first: int, session: Session) -> dict[str, Any]:
    """Holds history, log, events, watcher and answers against what callers were told."""
    await drained(url)
    moves = await rows(
        url, "SELECT revision, model, alias, to_number FROM alias_move WHERE revision > $1", first
    )
    logged = await rows(
        url, "SELECT revision FROM change WHERE kind = 'ALIAS_MOVED' AND revision > $1", first
    )
    every = [row["revision"] for row in await rows(url, "SELECT revision FROM change ORDER BY revision")]
    history = {row["revision"]: row for row in moves}
    told_revisions = Counter(revision for *_, revision in told.promotions)
    records, events = await published(kafka, first)
    final = {name: max(seen) for name, seen in told.watched.items()}
    answers = {
        name: (await session.call("GetAlias", api.GetAliasRequest(name=name))).revision for name in final
    }
    newest: dict[str, int] = {}
    for row in moves:
        name = f"models/{row['model']}/aliases/{row['alias']}"
        newest[name] = max(newest.get(name, 0), row["revision"])
    watched = Counter(revision for seen in told.watched.values() for revision in seen if revision > first)
    return {
        "records_on_topic": records,
        "lost_promotions": len(set(told_revisions) - set(history)),
        "doubled_promotions": len(set(history) ^ set(told_revisions)) + doubled(told_revisions),
        "lost_events": len(set(history) - set(events)),
        "doubled_events": len(set(events) - set(history)) + doubled(events),
        "gaps_in_log": len(set(range(1, len(every) + 1)) ^ set(every)),
        "log_differs": len({row["revision"] for row in logged} ^ set(history)),
        "map_differs": sum(answers.get(name) != revision for name, revision in newest.items()),
        "watcher_differs": len(set(history) ^ set(watched)) + doubled(watched),
    }


def doubled(revisions: Counter[int]) -> int:
    return revisions.total() - len(revisions)


async def drained(url: str) -> None:
    """Waits until the relay has published everything."""
    until_s = time.monotonic() + DRAIN_TIMEOUT_S
    while (await rows(url, "SELECT count(*) FROM outbox"))[0][0]:
        if time.monotonic() > until_s:
            raise TimeoutError("the outbox is not empty")
        await asyncio.sleep(0.1)


async def published(kafka: str, first: int) -> tuple[int, Counter[int]]:
    """Returns how many records there are, and how often each revision occurs without repeated event ids."""
    ids: set[str] = set()
    revisions: Counter[int] = Counter()
    records = 0
    async for record in tail(kafka, [topic_of(AliasMoved).name]):
        event = AliasMoved.FromString(record.value)
        if event.revision <= first or event.model.removeprefix("models/") not in MODELS:
            continue
        records += 1
        event_id = dict(record.headers)["ce_id"].decode()
        if event_id not in ids:
            ids.add(event_id)
            revisions[event.revision] += 1
    return records, revisions


WRONG = (
    "lost_promotions",
    "doubled_promotions",
    "lost_events",
    "doubled_events",
    "gaps_in_log",
    "log_differs",
    "map_differs",
    "watcher_differs",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--promotions", type=int, default=1_000)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mltrainer-crash-") as name, ExitStack() as stack:
        result = asyncio.run(scenario(options, Path(name), stack))
    print(json.dumps(result, indent=1))
    return int(any(result[key] for key in WRONG) or result["promotions"] != options.promotions)


if __name__ == "__main__":
    raise SystemExit(main())
