"""What a supervisor tells about itself and its processes, in one file that is always whole."""

import json
import os
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from mltrainer_cli.processes import ProcessIdentity


class State(StrEnum):
    """Where a process, or the whole stack, is in its life."""

    PREPARING = "preparing"
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """One process of the stack; pid, start mark, start time and log offset are those of its latest start."""

    name: str
    state: State
    log_file: str
    pid: int | None = None
    start_mark: str | None = None
    restarts: int = 0
    exit_code: int | None = None
    start_time: str | None = None
    log_offset: int = 0

    @property
    def identity(self) -> ProcessIdentity | None:
        """Tells which process this was, whether or not it still runs."""
        return ProcessIdentity(self.pid, self.start_mark) if self.pid and self.start_mark else None


@dataclass(frozen=True, slots=True)
class SupervisorRecord:
    """The supervisor and everything it keeps running."""

    pid: int
    start_mark: str
    state: State
    kafka_bootstrap_servers: str
    processes: tuple[ProcessRecord, ...] = ()

    @property
    def identity(self) -> ProcessIdentity:
        return ProcessIdentity(self.pid, self.start_mark)

    @property
    def is_ready(self) -> bool:
        """Tells whether every process answers."""
        return self.state is State.READY and all(one.state is State.READY for one in self.processes)


def write_record(path: Path, record: SupervisorRecord) -> None:
    """Replaces the file in one step."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.write_text(json.dumps(asdict(record), indent=1))
    draft.replace(path)


def read_record(path: Path) -> SupervisorRecord | None:
    """Returns the latest record, or None when there is none that can be read."""
    try:
        content = json.loads(path.read_text())
        processes = tuple(
            ProcessRecord(**{**entry, "state": State(entry["state"])}) for entry in content.pop("processes")
        )
        return SupervisorRecord(**{**content, "state": State(content["state"]), "processes": processes})
    except (OSError, ValueError, KeyError, TypeError):
        return None
