"""Remembers what sources say, so that the process of an attempt need not parse files that nobody changed."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mltrainer_trainer.adapters import code_closure
from mltrainer_trainer.adapters.code_closure import SourceModule, read_source

# A file that was written twice within one tick of its file system's clock may look unchanged.
_SETTLED_S = 2.0


class SourceCache:
    """Knows sources by name, path, size, inode and both times of change; which exist is never remembered.

    A time of change in the kernel's keeping (ctime) moves with every write, whatever the writer says of the
    time of modification. What changed moments ago is read each time. Another Python, or another way of
    reading sources, knows nothing of what was remembered.
    """

    def __init__(self, file: Path, wall_s: Callable[[], float] = time.time) -> None:
        self._file = file
        self._wall_s = wall_s
        self._reader = [sys.version, _facts(Path(code_closure.__file__))]
        self._known = self._load()
        self._read: dict[str, list[Any]] = {}

    def read(self, name: str, path: Path) -> SourceModule:
        """Reads a source, or takes what is known of it."""
        facts = _facts(path)
        known = self._known.get(name)
        if known is None or known[0] != str(path) or known[1] != facts:
            source = read_source(name, path)
            known = [str(path), facts, source.digest, list(source.references)]
        age_s = self._wall_s() - max(facts[2:]) / 1e9
        if age_s > _SETTLED_S and _facts(path) == facts:
            self._read[name] = known
        return SourceModule(path, known[2], tuple(known[3]))

    def save(self) -> None:
        """Remembers what was read; where that cannot be written, the next process reads again."""
        if self._read == self._known:
            return
        draft = self._file.with_suffix(f".{os.getpid()}.draft")
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps({"reader": self._reader, "sources": self._read}))
            draft.replace(self._file)

    def _load(self) -> Mapping[str, list[Any]]:
        try:
            held = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(held, dict) or held.get("reader") != self._reader:
            return {}
        sources: Mapping[str, list[Any]] = held["sources"]
        return sources


def _facts(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
