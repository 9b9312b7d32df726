"""The exit codes of the command and the one error every part of it raises."""

from enum import IntEnum
from typing import Self


class ExitCode(IntEnum):
    """What a caller learns from the exit status."""

    OK = 0
    FAILED = 1
    """Something the command did not expect; its log says more."""
    USAGE = 2
    """The command line itself is wrong."""
    NOT_RUNNING = 3
    """The stack, or the service asked for, is not running."""
    PRECONDITION = 4
    """This machine or the data directory is not in a state to do it."""
    NOT_FOUND = 5
    """The resource asked for does not exist."""
    REJECTED = 6
    """A service refused the request: bad input, missing role, lost race."""
    TIMED_OUT = 7
    """It may still happen; nothing was undone."""
    CLAIM_FAILED = 8
    """The command ran and its finding is negative: a chaos verdict, a doctor's check."""


class CliError(Exception):
    """An expected failure: one sentence that says what to do, and an exit code."""

    def __init__(self, message: str, code: ExitCode = ExitCode.PRECONDITION) -> None:
        super().__init__(message)
        self.message = message
        self.code = code

    @classmethod
    def from_os_error(cls, error: OSError, doing: str) -> Self:
        """Turns a refused file operation into a sentence that names the place."""
        import errno

        place = f" ({error.filename})" if error.filename else ""
        match error.errno:
            case errno.ENOSPC | errno.EDQUOT:
                advice = "the disk is full: free some space or choose another place with --data-directory"
            case errno.EACCES | errno.EPERM | errno.EROFS:
                advice = "it is not writable: change its owner or choose another place with --data-directory"
            case _:
                advice = error.strerror or str(error)
        return cls(f"Could not {doing}{place}: {advice}.", ExitCode.PRECONDITION)
