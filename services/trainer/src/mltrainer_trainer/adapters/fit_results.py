"""Keeps results of fits as files that all attempts of a machine share."""

import contextlib
import fcntl
import hashlib
import io
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from mltrainer_trainer.domain.recall import Recalled

_DIGEST_BYTES = 32
_HEAD = struct.Struct("<d")
_POLL_S = 0.02
_SUFFIX = ".fit"
# After this much time without use, a result counts half as much.
_HALF_LIFE_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class FileFitResults:
    """One file per result: its SHA-256, the CPU time it took, and what it holds as `.npy`.

    A file that is cut off or altered is no result. A leader holds a lock of the kernel, which a process that
    dies gives back; one that hangs is waited for `patience_s` and then no longer.
    """

    folder: Path
    patience_s: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic

    def find(self, key: str) -> Recalled | None:
        """Returns what was kept, and remembers that it was of use."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        result = _decode(content)
        with contextlib.suppress(FileNotFoundError):
            if result is None:
                path.unlink()
            else:
                os.utime(path)
        return result

    def keep(self, key: str, result: Recalled) -> None:
        """Keeps a result whole or not at all."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.draft")
        draft.write_bytes(_encode(result))
        draft.replace(path)

    @contextlib.contextmanager
    def lead(self, key: str) -> Iterator[bool]:
        """Waits until no other process computes this, and says whether that is so."""
        path = self._path(key).with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            leads = self._wait(file)
            try:
                yield leads
            finally:
                if leads:
                    # Whoever waits on the file that is unlinked finds the result, or computes a second time.
                    path.unlink(missing_ok=True)

    def _wait(self, file: IO[bytes]) -> bool:
        end_s = self.monotonic() + self.patience_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self.monotonic() >= end_s:
                    return False
                self.sleep(_POLL_S)
            else:
                return True

    def prune(self, limit_bytes: int, now_s: float) -> int:
        """Forgets what saves the least CPU time per byte until the rest fits; returns how many results."""
        entries = sorted((_worth(path, now_s), path) for path in self.folder.glob(f"*/*{_SUFFIX}"))
        excess = sum(worth.size for worth, _ in entries) - limit_bytes
        count = 0
        for worth, path in entries:
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= worth.size
            count += 1
        return count

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}{_SUFFIX}"


@dataclass(frozen=True, order=True, slots=True)
class _Worth:
    cpu_seconds_per_byte: float
    size: int


def _worth(path: Path, now_s: float) -> _Worth:
    try:
        status = path.stat()
        with path.open("rb") as file:
            head = file.read(_DIGEST_BYTES + _HEAD.size)[_DIGEST_BYTES:]
    except FileNotFoundError:
        return _Worth(0.0, 0)
    cpu_seconds = _HEAD.unpack(head)[0] if len(head) == _HEAD.size else 0.0
    age_s = max(now_s - status.st_mtime, 0.0)
    return _Worth(cpu_seconds * 0.5 ** (age_s / _HALF_LIFE_S) / max(status.st_size, 1), status.st_size)


def _encode(result: Recalled) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(result.content), allow_pickle=False)
    body = _HEAD.pack(result.cpu_seconds) + buffer.getvalue()
    return hashlib.sha256(body).digest() + body


def _decode(content: bytes) -> Recalled | None:
    digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if len(body) < _HEAD.size or hashlib.sha256(body).digest() != digest:
        return None
    held = np.load(io.BytesIO(body[_HEAD.size :]), allow_pickle=False)
    return Recalled(held, _HEAD.unpack(body[: _HEAD.size])[0])
