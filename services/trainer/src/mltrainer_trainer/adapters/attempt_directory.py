"""The directory through which a trainer and the processes of an attempt know each other.

`order.binpb` says what to execute, `process.json` who executes; `output.log` is what it said. `devices.json`
holds the GPUs it was given, `verdict` why the trainer has ended it, `scratch` what it writes while it lives.
In a pod, the order is text: `order.b64`.
"""

import base64
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mltrainer_trainer.adapters.processes import ProcessId
from mltrainer_trainer.domain.attempt import Placement
from mltrainer_trainer.domain.execution import EndReason

ORDER_TEXT = "order.b64"
_ORDER = "order.binpb"
_PROCESS = "process.json"
_DEVICES = "devices.json"
_VERDICT = "verdict"
_LOG = "output.log"
_SCRATCH = "scratch"


@dataclass(frozen=True, slots=True)
class AttemptDirectory:
    """Files of one attempt; each is replaced whole, so that no reader sees half of one."""

    path: Path

    @property
    def log_file(self) -> Path:
        """Where the output of the processes goes."""
        return self.path / _LOG

    @property
    def scratch(self) -> Path:
        """Where the processes start, and keep what they need for a while."""
        return self.path / _SCRATCH

    def scratch_bytes(self) -> int:
        """Adds up what the processes keep there."""
        return sum(_size_bytes(file) for file in self.scratch.rglob("*"))

    def clear_scratch(self) -> None:
        """Removes what the processes have kept there."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def create(self, order: bytes, devices: dict[int, float]) -> None:
        """Writes what the processes need to begin; `devices` are shares of GPUs by their index."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.scratch.mkdir(exist_ok=True, mode=0o700)
        self._replace(_DEVICES, json.dumps(devices).encode())
        self._replace(_ORDER, order)

    def order(self) -> bytes:
        """Returns the encoded order."""
        text = self.path / ORDER_TEXT
        return base64.b64decode(text.read_bytes()) if text.exists() else (self.path / _ORDER).read_bytes()

    def devices(self) -> dict[int, float]:
        """Returns the shares of GPUs that the attempt was given."""
        content = self._read(_DEVICES)
        return {int(index): share for index, share in json.loads(content or b"{}").items()}

    def write_process(self, process: ProcessId) -> None:
        """Says who executes."""
        content = {"pid": process.pid, "start_mark": process.start_mark}
        self._replace(_PROCESS, json.dumps(content).encode())

    def process(self) -> ProcessId | None:
        """Returns who executes or executed; None before the process has said so."""
        content = self._read(_PROCESS)
        if content is None:
            return None
        fields = json.loads(content)
        return ProcessId(fields["pid"], fields["start_mark"])

    def write_verdict(self, reason: EndReason, message: str = "") -> None:
        """Says why the trainer ends the attempt; the first verdict stands."""
        if self.path.is_dir() and self.verdict() is None:
            self._replace(_VERDICT, f"{reason} {message}".encode())

    def verdict(self) -> tuple[EndReason, str] | None:
        """Returns why the trainer has ended the attempt; None where it has not."""
        content = self._read(_VERDICT)
        if content is None:
            return None
        reason, _, message = content.decode().partition(" ")
        return EndReason(reason), message

    def read_log(self, limit_bytes: int) -> bytes:
        """Returns the end of the output."""
        try:
            with self.log_file.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - limit_bytes))
                return log.read(limit_bytes)
        except FileNotFoundError:
            return b""

    def bound_log(self, limit_bytes: int) -> None:
        """Cuts the output to its last half where it has outgrown the limit; processes append behind it."""
        if self.log_file.exists() and self.log_file.stat().st_size > limit_bytes:
            kept = self.read_log(limit_bytes // 2)
            with self.log_file.open("r+b") as log:
                log.truncate(0)
                log.write(kept)

    def remove(self) -> None:
        """Removes everything."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def _replace(self, name: str, content: bytes) -> None:
        draft = self.path / f"{name}.{os.getpid()}.draft"
        draft.write_bytes(content)
        draft.replace(self.path / name)


def _size_bytes(file: Path) -> int:
    try:
        # What is on the disk: a file with holes is smaller than it says.
        return file.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0


def directory_of(root: Path, placement: Placement) -> AttemptDirectory:
    """Names the directory of an attempt; the token is in it because numbers may be given twice."""
    training = placement.training.removeprefix("trainings/")
    return AttemptDirectory(root / f"{training}.{placement.number}.{placement.fencing_token}")


def highest_token(root: Path, training: str) -> int:
    """Returns the highest token of a training that was started here; 0 where none was."""
    slug = training.removeprefix("trainings/")
    return max((int(path.name.rpartition(".")[2]) for path in root.glob(f"{slug}.*.*")), default=0)


def directories(root: Path) -> Iterator[AttemptDirectory]:
    """Walks over all attempts that have left something here."""
    for path in root.glob("*.*.*"):
        yield AttemptDirectory(path)
