"""Fills a scheduler's database with nodes and queued trainings of mixed widths."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count

from google.protobuf.message import Message
from mltrainer_common.database import Database
from mltrainer_messaging.topics import Topic, topic_of
from mltrainer_scheduler.adapters.rows import node_row, training_row
from mltrainer_scheduler.adapters.tables import cluster, node, trainer_release, training, view_version
from mltrainer_scheduler.domain.cluster import NodeReport, offered
from mltrainer_scheduler.domain.specification import (
    Budget,
    Evaluation,
    Resources,
    Search,
    Target,
    TargetKind,
    TrainingSpec,
    with_defaults,
)
from mltrainer_scheduler.domain.training import Training, TrainingState
from sqlalchemy import insert, select, update

_GIB = 1 << 30
_NUMBERS = count()
# Widths of Philly, thinned: most ask for one GPU, a few for whole nodes or several.
_WIDTHS = ((1, 1, 70), (2, 1, 10), (4, 1, 10), (8, 1, 8), (8, 2, 2))


def topics(events: Sequence[type[Message]]) -> list[Topic]:
    """Returns the topics of events."""
    return [topic_of(event) for event in events]


async def fill(database: Database, queued: int, nodes: int, now: datetime) -> None:
    """Announces nodes, a release and a view, and queues trainings."""
    reports = [
        NodeReport(
            f"nodes/n{index:05d}",
            offered(64.0, 512 * _GIB, 8.0),
            "A100",
            schedulable=True,
            spot=index % 4 == 0,
            zone=f"z{index % 3}",
            revision=1,
            seen_time=now,
        )
        for index in range(nodes)
    ]
    async with database.transaction() as connection:
        await connection.execute(update(cluster).values(revision=1, knowledge=2))
        await connection.execute(insert(node), [node_row(report) | {"change": 1} for report in reports])
        entry = ["ridge", "linear", ["LOG_REALIZED_VARIANCE"], "d1", ""]
        release = {
            "trainer": "trainers/default",
            "code_digest": "code",
            "environment_digest": "environment",
            "entries": [entry],
            "revision": 1,
            "received_time": now,
        }
        await connection.execute(insert(trainer_release), [release])
        view = {
            "feature_view": "bars_daily",
            "version": 1,
            "definition_digest": "d",
            "data_revision": 0,
            "revision": 1,
        }
        await connection.execute(insert(view_version), [view])
    await add_queued(database, queued, now)


async def add_queued(database: Database, queued: int, now: datetime) -> None:
    """Queues trainings."""
    async with database.transaction() as connection:
        change = (await connection.execute(select(cluster.c.revision))).scalar_one() + 1
        await connection.execute(update(cluster).values(revision=change))
        rows = [training_row(_training(next(_NUMBERS), now)) | {"change": change} for _ in range(queued)]
        await connection.execute(insert(training), rows)


def specification(number: int) -> TrainingSpec:
    """Returns what one request asks for, of a width drawn by its number."""
    rng = random.Random(number)
    gpus, workers, _ = rng.choices(_WIDTHS, [weight for _, _, weight in _WIDTHS])[0]
    return TrainingSpec(
        study=f"studies/s{number % 50}",
        target=Target(TargetKind.LOG_REALIZED_VARIANCE, 5),
        symbols=("AAPL", "MSFT"),
        feature_views=("bars_daily",),
        as_of=datetime(2022, 12, 28, 21, tzinfo=UTC),
        evaluation=Evaluation(datetime(2015, 1, 1, tzinfo=UTC)),
        search=Search(("ridge",), seed=number),
        budget=Budget(cpu_seconds=3_600.0),
        resources=Resources(4.0 * gpus, gpus * 16 * _GIB, float(gpus), gang_workers=workers),
        owner="desk",
    )


def _training(number: int, now: datetime) -> Training:
    return Training(
        name=f"trainings/{number:08d}",
        request_id=f"r{number}",
        spec=with_defaults(specification(number)),
        state=TrainingState.QUEUED,
        create_time=now - timedelta(seconds=60.0 - 1e-3 * (number % 60_000)),
        ready_time=now - timedelta(seconds=60.0),
        computation_key=f"key{number}",
        reason="AWAITING_PLACEMENT",
        revision=1,
        knowledge=2,
    )
