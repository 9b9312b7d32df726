"""The directory through which a trainer and the process of an attempt know each other.

`order.binpb` says what to execute, `lease.json` until when, `process.json` who executes;
`output.log` is what it said.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from mltrainer_trainer.domain.attempt import Placement, ProcessId

_ORDER = "order.binpb"
_LEASE = "lease.json"
_PROCESS = "process.json"
_LOG = "output.log"


@dataclass(frozen=True, slots=True)
class AttemptDirectory:
    """Files of one attempt; each is replaced whole, so that no reader sees half of one."""

    path: Path

    @property
    def log_file(self) -> Path:
        """Where the output of the process goes."""
        return self.path / _LOG

    def create(self, order: bytes, expire_s: float) -> None:
        """Writes what the process needs to begin."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._replace(_ORDER, order)
        self.write_lease(expire_s)

    def order(self) -> bytes:
        """Returns the encoded order."""
        return (self.path / _ORDER).read_bytes()

    def write_lease(self, expire_s: float) -> None:
        """Lets the process execute until the machine's monotonic clock shows so many seconds."""
        self._replace(_LEASE, json.dumps({"expire_s": expire_s}).encode())

    def lease_expire_s(self) -> float:
        """Returns until when the process may execute."""
        return float(json.loads((self.path / _LEASE).read_bytes())["expire_s"])

    def write_process(self, process: ProcessId) -> None:
        """Says who executes."""
        content = {"pid": process.pid, "start_mark": process.start_mark}
        self._replace(_PROCESS, json.dumps(content).encode())

    def process(self) -> ProcessId | None:
        """Returns who executes or executed; None before the process has said so."""
        try:
            content = json.loads((self.path / _PROCESS).read_bytes())
        except FileNotFoundError:
            return None
        return ProcessId(content["pid"], content["start_mark"])

    def remove(self) -> None:
        """Removes everything."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _replace(self, name: str, content: bytes) -> None:
        draft = self.path / f"{name}.{os.getpid()}.draft"
        draft.write_bytes(content)
        draft.replace(self.path / name)


def directory_of(root: Path, placement: Placement) -> AttemptDirectory:
    """Names the directory of an attempt; the token is in it because numbers may be given twice."""
    training = placement.training.removeprefix("trainings/")
    return AttemptDirectory(root / f"{training}.{placement.number}.{placement.fencing_token}")
