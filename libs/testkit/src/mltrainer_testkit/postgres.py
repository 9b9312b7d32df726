"""Runs a PostgreSQL server for tests: one from the environment, a container, or local binaries."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mltrainer_testkit.containers import container, has_image
from mltrainer_testkit.ports import free_port

ENVIRONMENT_VARIABLE = "MLTRAINER_TEST_POSTGRES_URL"
_IMAGE = "postgres:16-alpine"
_START_TIMEOUT_S = 30.0
# The server ends when its input ends, that is, also when the tests are killed.
_TIED = '"$@" & server=$!; cat >/dev/null; kill -INT $server; wait $server'


class PostgresNotFoundError(Exception):
    """No PostgreSQL server can be had here; the text says what was tried."""


@contextmanager
def postgres_server(*, is_durable: bool = False) -> Iterator[str]:
    """Yields the URL of a server on which databases may be created.

    A local server answers a commit before it is on the disk, unless it shall be durable.

    Raises:
        PostgresNotFoundError: There is neither an address, nor a container engine, nor a local server.
    """
    if url := os.environ.get(ENVIRONMENT_VARIABLE):
        yield url
    elif has_image(_IMAGE):
        environment = {"POSTGRES_HOST_AUTH_METHOD": "trust"}
        with container(_IMAGE, 5432, environment) as (host, port):
            url = f"postgresql://postgres@{host}:{port}/postgres"
            _wait_until_ready(host, port)
            yield url
    else:
        with _local_server(_binaries(), is_durable=is_durable) as port:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"


def _binaries() -> Path:
    found = shutil.which("initdb")
    candidates = [Path(found).parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise PostgresNotFoundError(
        f"no PostgreSQL: set {ENVIRONMENT_VARIABLE}, pull {_IMAGE}, or install the server (initdb, postgres)"
    )


@contextmanager
def _local_server(binaries: Path, *, is_durable: bool) -> Iterator[int]:
    with tempfile.TemporaryDirectory(prefix="mltrainer-postgres-", ignore_cleanup_errors=True) as folder:
        user = _unprivileged_user(Path(folder))
        data = Path(folder) / "data"
        initdb = [
            str(binaries / "initdb"),
            "-D",
            str(data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "-N",
        ]
        subprocess.run(initdb, check=True, capture_output=True, user=user, cwd=folder)
        port = free_port()
        fsync = "on" if is_durable else "off"
        options = {"port": port, "unix_socket_directories": folder, "fsync": fsync, "max_connections": 200}
        server = [str(binaries / "postgres"), "-D", str(data), "-h", "127.0.0.1"]
        server += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _TIED, "sh", *server],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                user=user,
                cwd=folder,
            )
        try:
            _wait_until_ready("127.0.0.1", port)
            yield port
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


def _unprivileged_user(folder: Path) -> int | None:
    # The server refuses to run as root.
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return entry.pw_uid


def _wait_until_ready(host: str, port: int) -> None:
    # An SSLRequest is answered with one byte as soon as the server accepts connections.
    request = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        try:
            with socket.create_connection((host, port), timeout=1) as connection:
                connection.sendall(request)
                if connection.recv(1) in {b"N", b"S"}:
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise PostgresNotFoundError(f"the PostgreSQL server at {host}:{port} did not start")
