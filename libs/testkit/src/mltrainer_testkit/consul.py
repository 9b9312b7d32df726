"""Runs a Consul agent for tests: an installed one, or one built once from its Go module and cached.

`python -m mltrainer_testkit.consul <folder of the go.mod>` builds it ahead of the tests.
"""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mltrainer_testkit.go_programs import GoProgram, ProgramNotFoundError
from mltrainer_testkit.ports import free_port, free_ports

# 510 s of CPU, four to five minutes on two idle cores; what was compiled is kept for a later try.
BUILD_TIMEOUT_S = 840.0
_START_TIMEOUT_S = 30.0
# The agent ends when its input ends, that is, also when the tests are killed; it has nothing to save.
_TIED = '"$@" & agent=$!; cat >/dev/null; kill -9 $agent; wait $agent'
_OTHER_PORTS = ("server", "serf-lan", "serf-wan")
_SILENCED_PORTS = ("dns", "grpc", "grpc-tls")
_PROGRAM = GoProgram(
    name="consul",
    package="github.com/hashicorp/consul",
    variable="MLTRAINER_TEST_CONSUL",
    builder="python -m mltrainer_testkit.consul",
)

ConsulNotFoundError = ProgramNotFoundError


def find_or_build_consul(module: Path, timeout_s: float = BUILD_TIMEOUT_S) -> Path:
    """Returns an executable, or raises ConsulNotFoundError."""
    return _PROGRAM.find_or_build(module, timeout_s)


@contextmanager
def consul_agent(executable: Path, port: int | None = None) -> Iterator[str]:
    """Yields the address of a development agent, which keeps nothing once it has ended."""
    port = port or free_port()
    others = zip(_OTHER_PORTS, free_ports(len(_OTHER_PORTS)), strict=True)
    ports = [f"-{name}-port={number}" for name, number in (("http", port), *others)]
    ports += [f"-{name}-port=-1" for name in _SILENCED_PORTS]
    options = ["-dev", "-bind=127.0.0.1", "-client=127.0.0.1", "-node=test", "-log-level=warn"]
    agent = [str(executable), "agent", *options, "-hcl=disable_update_check = true", *ports]
    process = subprocess.Popen(
        ["/bin/sh", "-c", _TIED, "sh", *agent],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"127.0.0.1:{port}"
    try:
        _wait_until_ready(address)
        yield address
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


def _wait_until_ready(address: str) -> None:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        try:
            with urllib.request.urlopen(f"http://{address}/v1/status/leader", timeout=1) as answer:
                if answer.read() != b'""':
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise ConsulNotFoundError(f"the Consul agent at {address} did not start")


def main() -> int:
    """Builds the agent unless it is there; prints where it is, or why it cannot be had."""
    try:
        print(find_or_build_consul(Path(sys.argv[1])))  # noqa: T201 - the answer of a command
    except ConsulNotFoundError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
