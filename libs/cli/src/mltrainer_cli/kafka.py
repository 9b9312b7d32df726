"""A real Apache Kafka broker (KRaft, one node, loopback only) as a child process."""

import json
import random
import signal
import socket
import struct
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.java import find_java, resolve_class_path
from mltrainer_cli.logs import last_error
from mltrainer_cli.shim import shimmed

HOST = "127.0.0.1"
_READY_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_PORT_RANGE = range(20_000, 32_000)
"""Below the ports the kernel hands out to outgoing connections, so that a restart finds its port free."""
_METADATA_OF_NO_TOPIC = struct.pack(">hhih", 3, 1, 1, -1) + struct.pack(">i", 0)
_MAX_RECORD_BYTES = 9 * 1024 * 1024
"""An oversized event must reach the dead-letter topic with its original bytes, so the broker takes it."""
_MEMORY = ("-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the two listeners of a broker are."""

    broker: int
    controller: int


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker."""

    bootstrap_servers: str
    pid: int
    log_file: Path


@dataclass(frozen=True, slots=True)
class PreparedBroker:
    """A formatted directory and the command line that serves it."""

    command: tuple[str, ...]
    ports: Ports
    log_file: Path

    @property
    def bootstrap_servers(self) -> str:
        return f"{HOST}:{self.ports.broker}"


def prepare(directory: Path, *, port: int | None = None) -> PreparedBroker:
    """Makes a broker's directory ready to be served, keeping the ports and data it already has.

    Raises:
        CliError: no Java, no jars, a port in use, or a directory that cannot be written.
    """
    java, jars = find_java(), resolve_class_path()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        ports = _ports(directory, port)
        _write_configuration(directory, ports)
        _format(directory, java, jars)
    except OSError as error:
        raise CliError.from_os_error(error, "prepare the Kafka broker") from error
    command = (*_java_command(directory, java, jars), "kafka.Kafka", str(directory / "server.properties"))
    return PreparedBroker(command, ports, directory / "broker.log")


@contextmanager
def start_broker(directory: Path, *, port: int | None = None) -> Iterator[Broker]:
    """Runs a broker of that directory until the block ends; it also ends when this process does.

    Call it from the main thread: the kernel ties the broker to the thread that started it.
    """
    prepared = prepare(directory, port=port)
    with prepared.log_file.open("ab") as log:
        process = subprocess.Popen(
            shimmed(prepared.command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, prepared)
        yield Broker(prepared.bootstrap_servers, process.pid, prepared.log_file)
    finally:
        _stop(process)


def answers(bootstrap_servers: str, timeout_s: float = 1.0) -> bool:
    """Tells whether a broker there is registered and serves metadata."""
    host, _, port = bootstrap_servers.split(",", maxsplit=1)[0].rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s) as connection:
            connection.sendall(struct.pack(">i", len(_METADATA_OF_NO_TOPIC)) + _METADATA_OF_NO_TOPIC)
            head = connection.recv(12, socket.MSG_WAITALL)
            brokers: int = struct.unpack(">iii", head)[2]
    except (OSError, ValueError, struct.error):
        return False
    return brokers > 0


def is_free(port: int) -> bool:
    """Tells whether a listener could bind there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def kept_ports(directory: Path) -> Ports | None:
    """Returns the ports that a broker's directory has had since its first start, or None before it."""
    try:
        return Ports(**json.loads((directory / "ports.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _ports(directory: Path, wanted: int | None) -> Ports:
    kept = kept_ports(directory) or Ports(_choose_port(), _choose_port())
    ports = Ports(wanted or kept.broker, kept.controller)
    for port in (ports.broker, ports.controller):
        if not is_free(port):
            raise CliError(
                f"Port {port} on {HOST}, which the Kafka broker of {directory} uses, is taken by another "
                "process: end that process, or give the broker another one with --kafka-port."
            )
    (directory / "ports.json").write_text(json.dumps(asdict(ports)))
    return ports


def _choose_port() -> int:
    candidates = random.SystemRandom().sample(_PORT_RANGE, 100)
    return next(port for port in candidates if is_free(port))


def _write_configuration(directory: Path, ports: Ports) -> None:
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{ports.controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{HOST}:{ports.broker},CONTROLLER://{HOST}:{ports.controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{ports.broker}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": directory / "data",
        "auto.create.topics.enable": "false",
        "num.partitions": 6,
        "log.retention.hours": 168,
        "message.max.bytes": _MAX_RECORD_BYTES,
        "log.segment.bytes": 64 * 1024 * 1024,
        "log.index.size.max.bytes": 1024 * 1024,
        "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
        "offsets.topic.num.partitions": 8,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.num.partitions": 2,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "broker.session.timeout.ms": 2000,  # a killed broker may register again only after it
        "broker.heartbeat.interval.ms": 300,
        "num.network.threads": 2,
        "num.io.threads": 4,
    }
    lines = (f"{name}={value}" for name, value in settings.items())
    (directory / "server.properties").write_text("\n".join(lines) + "\n")
    (directory / "log4j2.properties").write_text(_LOGGING)


_LOGGING = """\
status=ERROR
shutdownHook=disable
appender.out.type=Console
appender.out.name=OUT
appender.out.target=SYSTEM_OUT
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX} %p %m (%c{1})%n
rootLogger.level=WARN
rootLogger.appenderRef.out.ref=OUT
"""


def _java_command(directory: Path, java: Path, jars: Path) -> tuple[str, ...]:
    return (
        str(java),
        *_MEMORY,
        "-Djava.awt.headless=true",
        "-Dlog4j2.disableJmx=true",
        f"-Dlog4j2.configurationFile={directory / 'log4j2.properties'}",
        "-cp",
        f"{jars}/*",
    )


def _format(directory: Path, java: Path, jars: Path) -> None:
    if (directory / "data" / "meta.properties").exists():
        return
    identity = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    arguments = ("format", f"--cluster-id={identity}", "--config", str(directory / "server.properties"))
    done = subprocess.run(
        [*_java_command(directory, java, jars), "kafka.tools.StorageTool", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise CliError(f"Kafka could not format {directory / 'data'}: {words[-1]}", ExitCode.PRECONDITION)


def _wait_until_ready(process: subprocess.Popen[bytes], prepared: PreparedBroker) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while not answers(prepared.bootstrap_servers):
        if process.poll() is not None:
            raise CliError(
                f"The Kafka broker ended at once: {last_error(prepared.log_file)}", ExitCode.FAILED
            )
        if time.monotonic() > deadline:
            raise CliError(
                f"The Kafka broker did not answer in time: see {prepared.log_file}.", ExitCode.TIMED_OUT
            )
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
