"""Asks whether a Docker engine has an image, without pulling any, and runs it."""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

_SOCKET = "/var/run/docker.sock"


def has_image(image: str) -> bool:
    """Tells whether an engine is reachable and holds the image."""
    if not _engine_listens():
        return False
    import docker  # type: ignore[import-untyped]  # ships no types
    from docker.errors import DockerException  # type: ignore[import-untyped]  # ships no types

    try:
        with closing(docker.from_env(timeout=5)) as client:
            return any(image in (found.tags or ()) for found in client.images.list())
    except DockerException:
        return False


@contextmanager
def container(image: str, port: int, environment: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Runs the image and yields where its port is reachable."""
    from testcontainers.core.container import DockerContainer

    running = DockerContainer(image).with_exposed_ports(port)
    for name, value in environment.items():
        running = running.with_env(name, value)
    with running:
        yield running.get_container_host_ip(), int(running.get_exposed_port(port))


def _engine_listens() -> bool:
    # Asked first because the client library leaves a socket open when no engine answers.
    if "DOCKER_HOST" in os.environ:
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(_SOCKET) == 0
