"""Finds free ports of the loopback interface."""

import socket
from contextlib import ExitStack


def free_ports(number: int) -> list[int]:
    """Returns ports, all different, that nobody listened on a moment ago."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def free_port() -> int:
    """Returns one of them."""
    return free_ports(1)[0]
