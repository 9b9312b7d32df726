"""`mltrainer events` against a real broker."""

import asyncio
import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from mltrainer.scheduler.v1 import events_pb2
from mltrainer_cli import kafka
from mltrainer_cli.errors import ExitCode
from mltrainer_cli.event_stream import event_types
from mltrainer_cli.main import run
from mltrainer_messaging.dead_letters import DeadLetter
from mltrainer_messaging.envelope import OutgoingEvent, RawRecord, encode_event
from mltrainer_messaging.kafka import KafkaBroker
from mltrainer_messaging.topics import topic_of

pytestmark = pytest.mark.integration

REQUEST = events_pb2.TrainingRequested(request_id="r1", study="studies/volatility")
TOPIC = topic_of(REQUEST)
GARBAGE = b"\xff\xfe not protobuf"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with kafka.start_broker(tmp_path_factory.mktemp("events") / "kafka") as broker:
        asyncio.run(publish(broker.bootstrap_servers))
        yield broker.bootstrap_servers


@pytest.fixture(autouse=True)
def _own_broker(servers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLTRAINER_KAFKA_BOOTSTRAP_SERVERS", servers)


async def publish(servers: str) -> None:
    letter = DeadLetter(
        cause="UNDECODABLE",
        detail="not a message",
        consumer="scheduler",
        handler="OnTrainingRequested",
        attempts=0,
        time=datetime(2026, 1, 1, tzinfo=UTC),
        traceparent="",
        record=RawRecord(TOPIC.name, 0, 7, b"studies/volatility", GARBAGE, (), datetime.now(UTC)),
    )
    async with KafkaBroker(servers, "test") as broker:
        await broker.ensure_topics([TOPIC])
        now = datetime.now(UTC)
        event = encode_event(REQUEST, event_id="e1", source="/mltrainer/test", time=now, traceparent=None)
        await broker.publisher.publish([event, letter.to_record()])


def test_tail_shows_the_event_and_its_body(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(
        [
            *("events", "tail", "--data-directory", str(tmp_path), "--output", "json"),
            *("--from-beginning", "--no-follow", "--topic", "training-requested.v1$"),
        ]
    )

    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == ExitCode.OK
    assert events[0]["id"] == "e1"
    assert events[0]["topic"] == TOPIC.name
    assert events[0]["event"] == {"request_id": "r1", "study": "studies/volatility"}


def test_a_dead_letter_is_listed_and_played_again_byte_for_byte(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--data-directory", str(tmp_path), "--output", "json"]
    run(["events", "dead-letters", *common, "--cause", "UNDECODABLE"])
    listed = json.loads(capsys.readouterr().out)

    code = run(["events", "replay", *common, "--address", listed[0]["address"]])
    replayed = json.loads(capsys.readouterr().out)
    run(["events", "tail", *common, "--from-beginning", "--no-follow", "--topic", "requested.v1$"])
    tailed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert listed[0]["detail"] == "not a message"
    assert code == ExitCode.OK
    assert replayed == {"replayed": [listed[0]["address"]]}
    faults = [one for one in tailed if "fault" in one]
    assert [base64.b64decode(one["value_base64"]) for one in faults] == [GARBAGE]


def test_replay_wants_to_be_told_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["events", "replay", "--data-directory", str(tmp_path)]) == ExitCode.USAGE
    assert "--address, --topic, --cause or --all" in capsys.readouterr().err


def test_an_address_that_holds_nothing_is_not_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["events", "replay", "--data-directory", str(tmp_path), "--address", "nowhere/0/0"]

    assert run(arguments) == ExitCode.NOT_FOUND
    assert "no dead letter nowhere/0/0" in capsys.readouterr().err


async def test_an_event_larger_than_allowed_fits_the_broker_so_that_it_can_become_a_dead_letter(
    servers: str,
) -> None:
    large = OutgoingEvent(TOPIC.dead_letter, b"large", bytes(8_000_000), ())

    async with KafkaBroker(servers, "test") as broker:
        await broker.publisher.publish([large])


def test_every_event_of_the_contracts_is_known_by_its_full_name() -> None:
    types = event_types()

    assert "mltrainer.scheduler.v1.TrainingRequested" in types
    assert len(types) > 20
