"""Runs an S3 server for tests: Versity's gateway, an installed one or one built once and cached.

`python -m mltrainer_testkit.s3 <folder of the go.mod>` builds it ahead of the tests.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mltrainer_testkit.go_programs import GoProgram, ProgramNotFoundError
from mltrainer_testkit.ports import free_port

# 100 s of CPU.
BUILD_TIMEOUT_S = 600.0
_START_TIMEOUT_S = 30.0
_ACCESS_KEY, _SECRET_KEY, _REGION = "test", "secret-of-the-test", "us-east-1"
_BUCKET = "bucket"
# The server ends when its input ends, that is, also when the tests are killed.
_TIED = '"$@" & server=$!; cat >/dev/null; kill -9 $server; wait $server'
_PROGRAM = GoProgram(
    name="versitygw",
    package="github.com/versity/versitygw/cmd/versitygw",
    variable="MLTRAINER_TEST_VERSITYGW",
    builder="python -m mltrainer_testkit.s3",
)


@dataclass(frozen=True, slots=True)
class S3Bucket:
    """A bucket; `environment` is what a client of it needs to see."""

    name: str
    environment: dict[str, str]


def find_or_build_versitygw(module: Path, timeout_s: float = BUILD_TIMEOUT_S) -> Path:
    """Returns an executable, or raises ProgramNotFoundError."""
    return _PROGRAM.find_or_build(module, timeout_s)


@contextmanager
def s3_bucket(executable: Path, folder: Path) -> Iterator[S3Bucket]:
    """Yields an empty bucket of a server that keeps its files in `folder`."""
    (folder / "data" / _BUCKET).mkdir(parents=True)
    (folder / "metadata").mkdir()
    port = free_port()
    keys = ["--access", _ACCESS_KEY, "--secret", _SECRET_KEY, "--region", _REGION]
    options = [*keys, "--quiet", "--keep-alive", "--port", f"127.0.0.1:{port}"]
    posix = ["posix", "--sidecar", str(folder / "metadata"), str(folder / "data")]
    process = subprocess.Popen(
        ["/bin/sh", "-c", _TIED, "sh", str(executable), *options, *posix],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_ready(port)
        yield S3Bucket(_BUCKET, _environment(port))
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


def _environment(port: int) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": _REGION,
        "AWS_ACCESS_KEY_ID": _ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": _SECRET_KEY,
    }


def _wait_until_ready(port: int) -> None:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise ProgramNotFoundError(f"the S3 server at port {port} did not start")


def main() -> int:
    """Builds the server unless it is there; prints where it is, or why it cannot be had."""
    try:
        print(find_or_build_versitygw(Path(sys.argv[1])))  # noqa: T201 - the answer of a command
    except ProgramNotFoundError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
