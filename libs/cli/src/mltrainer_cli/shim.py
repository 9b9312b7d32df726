"""Becomes a child process that cannot outlive whoever started it.

Run as `python -S -E shim.py PARENT_PID PROGRAM ARGUMENT…`: asks the kernel to kill this process when its
parent dies, makes sure the parent has not died before that took effect, then becomes the program. It imports
as little as it can, because every process of the stack starts through it.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_GONE = 113


def main(arguments: list[str]) -> None:
    """Ties this process to its parent and becomes the program."""
    parent, program = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(_GONE)
    os.execv(program[0], program)  # noqa: S606  # becoming the program is the purpose; no shell is involved


def shimmed(command: tuple[str, ...]) -> list[str]:
    """Prefixes a command so that it dies with the calling process."""
    return [sys.executable, "-S", "-E", __file__, str(os.getpid()), *command]


if __name__ == "__main__":
    main(sys.argv[1:])
