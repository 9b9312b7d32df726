"""Finds in a process's log the line that says why it ended."""

import json
from pathlib import Path

_TAIL_BYTES = 64 * 1024
_TELLING = ("Error", "Exception", "ERROR", "FATAL")
_FULL_DISK = "No space left on device"


def last_error(log_file: Path, offset: int = 0) -> str:
    """Returns the sentence a process ended with: its own refusal, else its last error, else its last line."""
    lines = [line.strip() for line in _tail(log_file, offset).splitlines() if line.strip()]
    if any(_FULL_DISK in line for line in lines[-200:]):
        return "the disk is full: free some space or choose another --data-directory"
    refusals = [line.partition(": ")[2] for line in lines if line.startswith("mltrainer") and ": " in line]
    telling = [line for line in lines if any(word in line for word in _TELLING) or _is_error(line)]
    return _words((refusals or telling or lines or ["it wrote nothing"])[-1])


def _tail(log_file: Path, offset: int) -> str:
    try:
        with log_file.open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(offset, size - _TAIL_BYTES))
            return log.read().decode(errors="replace")
    except OSError:
        return ""


def _is_error(line: str) -> bool:
    return _parsed(line).get("level") in {"error", "critical"}


def _words(line: str) -> str:
    event = _parsed(line)
    said = " ".join(str(event[key]) for key in ("event", "error") if key in event)
    return said or line


def _parsed(line: str) -> dict[str, object]:
    try:
        content = json.loads(line)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
