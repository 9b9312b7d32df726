"""A folder of this machine, or one mounted on it, that producers of bars write files into."""

import json
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mltrainer_common.content_store import ContentStore

from mltrainer_feature.domain.dropped_files import (
    TEXT_SUFFIX,
    DropOutcome,
    DroppedFile,
    DropState,
    UnfinishedFileError,
    is_offered,
)

_PLACES = {DropState.TAKEN: "taken", DropState.REFUSED: "refused"}
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class LocalDropFolder:
    """Implements `DropFolder`; a link is listed as one and never followed, sub-folders are not offered."""

    directory: Path
    content: ContentStore

    def files(self) -> Sequence[DroppedFile]:
        """Lists what is offered."""
        found = []
        with os.scandir(self.directory) as entries:
            for entry in entries:
                if is_offered(entry.name) and (entry.is_symlink() or entry.is_file(follow_symlinks=False)):
                    with suppress(FileNotFoundError):
                        found.append(_mark(entry.name, entry.stat(follow_symlinks=False)))
        return found

    def store(self, file: DroppedFile) -> str | None:
        """Stores the bytes of a file and returns their digest; None if it is no longer as listed.

        Raises:
            UnfinishedFileError: The file ends in the middle of a line.
        """
        try:
            # What has taken the place of the file may be a link, or a pipe that nobody writes to.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(self.directory / file.name, flags)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as source:
            if _mark(file.name, os.fstat(descriptor)) != file:
                return None
            if file.name.endswith(TEXT_SUFFIX):
                _check_end(source)
            return self._store(file, source)

    def _store(self, file: DroppedFile, source: BinaryIO) -> str | None:
        with self.content.upload() as upload:
            while chunk := source.read(_CHUNK_BYTES):
                upload.write(chunk)
                if source.tell() > file.size_bytes:
                    return None
            return upload.commit() if _mark(file.name, os.fstat(source.fileno())) == file else None

    def put_away(self, outcome: DropOutcome) -> bool:
        """Moves a file into `taken` or `refused`; a refused one gets its reason beside it.

        A file that was replaced meanwhile is offered again, under a name of its own.
        """
        place, source = self.directory / _PLACES[outcome.state], self.directory / outcome.file.name
        place.mkdir(exist_ok=True)
        kept = place / outcome.kept_name
        try:
            if _mark(outcome.file.name, source.lstat()) != outcome.file:
                return False
            # First the reason: a process killed in between does both again.
            if outcome.state is DropState.REFUSED:
                _write_reason(place / f"{outcome.kept_name}.reason.json", outcome)
            source.rename(kept)
        except FileNotFoundError:
            return False
        moved = _mark(outcome.file.name, kept.lstat())
        if moved != outcome.file:
            kept.rename(self.directory / f"{moved.modified_ns:x}-{moved.name}")
        return moved == outcome.file


def _mark(name: str, state: os.stat_result) -> DroppedFile:
    return DroppedFile(name, state.st_size, state.st_mtime_ns, state.st_ino, stat.S_ISLNK(state.st_mode))


def _check_end(source: BinaryIO) -> None:
    source.seek(-1, os.SEEK_END)
    if source.read(1) != b"\n":
        raise UnfinishedFileError
    source.seek(0)


def _write_reason(path: Path, outcome: DropOutcome) -> None:
    bar_import = outcome.bar_import
    facts = {
        "file": outcome.file.name,
        "size_bytes": outcome.file.size_bytes,
        "reason": outcome.reason,
        "message": outcome.message,
        "bar_import": bar_import.name if bar_import else None,
        "sha256": bar_import.sha256 if bar_import else None,
        "refused_count": bar_import.refused_count if bar_import else 0,
        "problems": bar_import.problems if bar_import else [],
    }
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(json.dumps(facts, indent=2) + "\n")
    unfinished.replace(path)
