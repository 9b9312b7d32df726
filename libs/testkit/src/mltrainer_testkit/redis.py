"""Runs a Redis server for tests that can be killed and started again, empty, on the same port.

It is the machine's `redis-server` (Debian's package of that name), or what an environment variable names.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mltrainer_testkit.ports import free_port

ENVIRONMENT_VARIABLE = "MLTRAINER_TEST_REDIS_SERVER"
_START_TIMEOUT_S = 30.0
# The server ends when its input ends, that is, also when the tests are killed.
_TIED = '"$@" & server=$!; cat >/dev/null; kill -9 $server; wait $server'


class RedisNotFoundError(Exception):
    """No Redis server can be had here; the text says what was tried."""


class RedisServer:
    """A server that keeps nothing on disk."""

    def __init__(self, executable: str, directory: Path) -> None:
        self._executable = executable
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        """Returns where clients find it."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it, empty, and waits until it answers.

        Raises:
            RedisNotFoundError: It does not answer.
        """
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _TIED, "sh", self._executable, *options, "--dir", str(self._directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > deadline_s:
                raise RedisNotFoundError(f"the Redis server at port {self.port} did not start")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(5) == b"+PONG"
        except OSError:
            return False

    def kill(self) -> None:
        """Kills it with everything it holds."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
            self._process = None


@contextmanager
def redis_server(directory: Path) -> Iterator[RedisServer]:
    """Yields a running server.

    Raises:
        RedisNotFoundError: There is no executable.
    """
    executable = os.environ.get(ENVIRONMENT_VARIABLE) or shutil.which("redis-server")
    if executable is None:
        raise RedisNotFoundError(
            f"no Redis: install Debian's redis-server or name an executable in {ENVIRONMENT_VARIABLE}"
        )
    server = RedisServer(executable, directory)
    try:
        server.start()
        yield server
    finally:
        server.kill()
