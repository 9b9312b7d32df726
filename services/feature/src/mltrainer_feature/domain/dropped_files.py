"""Files in a drop folder: when one is whole, and what becomes of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mltrainer_feature.domain.errors import FeatureServiceError
from mltrainer_feature.domain.imports import BarImport, ImportState

TEXT_SUFFIX = ".csv"
_SUFFIXES = (TEXT_SUFFIX, ".csv.gz", ".parquet")
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class DroppedFile:
    """A file as a listing shows it; written to or replaced, it is another one."""

    name: str
    size_bytes: int
    modified_ns: int
    inode: int
    is_link: bool = False


class UnfinishedFileError(FeatureServiceError):
    """A file of lines ends in the middle of one: what is cut off may look like a smaller number."""

    def __init__(self) -> None:
        super().__init__("the last line does not end: let the producer finish it with a newline")


@dataclass(frozen=True, slots=True)
class Sighting:
    """A file and the monotonic time since which it has been as it is."""

    file: DroppedFile
    since_s: float


class DropState(StrEnum):
    """What became of a file."""

    TAKEN = "TAKEN"
    REFUSED = "REFUSED"
    POSTPONED = "POSTPONED"


class DropReason(StrEnum):
    """Why a file is refused."""

    LINK = "LINK"
    TOO_LARGE = "TOO_LARGE"
    UNREADABLE_BARS = "UNREADABLE_BARS"
    NO_BAR_ACCEPTED = "NO_BAR_ACCEPTED"


@dataclass(frozen=True, slots=True)
class DropOutcome:
    """What became of a file; `bar_import` is None where it was not read."""

    file: DroppedFile
    state: DropState
    reason: DropReason | None = None
    message: str = ""
    bar_import: BarImport | None = None

    @property
    def kept_name(self) -> str:
        """Names the file where it is kept: other bytes of the same name stand beside it."""
        mark = self.bar_import.sha256[:_DIGITS] if self.bar_import else f"{self.file.modified_ns:x}"
        return f"{mark}-{self.file.name}"


def is_offered(name: str) -> bool:
    """Tells whether a name is one of a finished file of bars."""
    return not name.startswith(".") and name.endswith(_SUFFIXES)


def follow(known: Mapping[str, Sighting], listed: Iterable[DroppedFile], now_s: float) -> dict[str, Sighting]:
    """Takes over a listing: what has changed counts as seen for the first time."""
    found = {}
    for file in listed:
        before = known.get(file.name)
        found[file.name] = before if before and before.file == file else Sighting(file, now_s)
    return found


def whole_files(sightings: Mapping[str, Sighting], now_s: float, settle_s: float) -> tuple[DroppedFile, ...]:
    """Returns the files that nobody has changed for a while, by name; an empty one is still to be written."""
    return tuple(
        sightings[name].file
        for name in sorted(sightings)
        if sightings[name].file.size_bytes and now_s - sightings[name].since_s >= settle_s
    )


def outcome_of(file: DroppedFile, bar_import: BarImport) -> DropOutcome | None:
    """Judges a file by its bulk load; None while that runs."""
    if bar_import.state is ImportState.RUNNING:
        return None
    if bar_import.state is ImportState.FAILED:
        reason, message = DropReason.UNREADABLE_BARS, bar_import.error
    elif bar_import.refused_count and not bar_import.accepted_count:
        reason, message = DropReason.NO_BAR_ACCEPTED, f"all {bar_import.refused_count} new bars were refused"
    else:
        return DropOutcome(file, DropState.TAKEN, bar_import=bar_import)
    return DropOutcome(file, DropState.REFUSED, reason, message, bar_import)


def refuse_unread(file: DroppedFile, max_bytes: int) -> DropOutcome | None:
    """Refuses a file by its listing; None where it may be read."""
    if file.is_link:
        message = "a link may lead to what nobody meant to drop: write the file itself"
        return DropOutcome(file, DropState.REFUSED, DropReason.LINK, message)
    if file.size_bytes > max_bytes:
        message = f"the file holds more than {max_bytes} bytes: split it by time"
        return DropOutcome(file, DropState.REFUSED, DropReason.TOO_LARGE, message)
    return None
