"""Tells where the instances of a service are, by the file in which embedded processes record themselves."""

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from mltrainer_common.clock import Monotonic, MonotonicClock

CHECK_INTERVAL_S = 0.1


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One instance of a service; `serving` is false once it has stopped or is draining."""

    address: str
    metrics_address: str
    pid: int
    serving: bool = True

    @property
    def port(self) -> int:
        """The gRPC port."""
        return int(self.address.rpartition(":")[2])


class EndpointResolver(Protocol):
    """Port: knows the addresses of services. Called before every call, so it must answer from memory."""

    def resolve(self, slug: str) -> tuple[str, ...]:
        """Returns the sorted `host:port` of every instance believed to serve; empty when none is known."""
        ...


class EndpointPublisher(Protocol):
    """Port: announces this process."""

    def publish(self, endpoint: Endpoint) -> None:
        """Announces the endpoint, or changes what was announced. May block: call it in a thread."""
        ...

    def withdraw(self) -> None:
        """Takes the endpoint back before the server drains. May block: call it in a thread."""
        ...


class Announcement:
    """Announces one endpoint until it is withdrawn, for good: whoever renews it too late changes nothing.

    A stale entry would otherwise outlive the process, which drains for seconds after it has withdrawn.
    """

    def __init__(self, publisher: EndpointPublisher, endpoint: Endpoint) -> None:
        self._publisher = publisher
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._withdrawn = False

    def renew(self) -> None:
        """Announces the endpoint unless it was withdrawn."""
        with self._lock:
            if not self._withdrawn:
                self._publisher.publish(self._endpoint)

    def withdraw(self) -> None:
        """Takes the endpoint back."""
        with self._lock:
            self._withdrawn = True
            self._publisher.withdraw()


class StaticResolver:
    """Reads `endpoints.json`, at most every 100 ms and only when it has changed."""

    def __init__(self, path: Path, now: Monotonic | None = None) -> None:
        self._path = path
        self._now = now or MonotonicClock()
        self._checked_at = float("-inf")
        self._stamp: tuple[int, int] | None = None
        self._addresses: dict[str, tuple[str, ...]] = {}

    def resolve(self, slug: str) -> tuple[str, ...]:
        """Returns the addresses of the serving instances."""
        now = self._now()
        if now - self._checked_at >= CHECK_INTERVAL_S:
            self._checked_at = now
            self._refresh()
        return self._addresses.get(slug, ())

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._addresses, self._stamp = {}, None
            return
        stamp = (status.st_ino, status.st_mtime_ns)
        if stamp == self._stamp:
            return
        self._addresses = {
            slug: tuple(sorted(item.address for item in instances.values() if item.serving))
            for slug, instances in read_endpoints(self._path).items()
        }
        self._stamp = stamp


@dataclass(frozen=True, slots=True)
class StaticPublisher:
    """Records one instance in `endpoints.json`; the entry outlives it, so a restart gets its port back."""

    path: Path
    slug: str
    instance: str

    def publish(self, endpoint: Endpoint) -> None:
        """Writes the entry of this instance."""
        self._change(lambda _: asdict(endpoint))

    def withdraw(self) -> None:
        """Marks the entry as not serving."""
        self._change(lambda entry: {**entry, "serving": False} if entry else entry)

    def previous(self) -> Endpoint | None:
        """Returns where this instance was last."""
        return read_endpoints(self.path).get(self.slug, {}).get(self.instance)

    def _change(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        with _locked(self.path):
            content = _read(self.path)
            instances = content.setdefault(self.slug, {})
            instances[self.instance] = change(instances.get(self.instance, {}))
            draft = self.path.with_name(f"{self.path.name}.{os.getpid()}.draft")
            draft.write_text(json.dumps(content, indent=1, sort_keys=True))
            draft.replace(self.path)


def read_endpoints(path: Path) -> dict[str, dict[str, Endpoint]]:
    """Returns every recorded endpoint by slug and instance; for resolvers, `status` and metric scrapers."""
    return {
        slug: {name: Endpoint(**entry) for name, entry in instances.items() if entry}
        for slug, instances in _read(path).items()
    }


def _read(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
