"""Executes one attempt: `python -m mltrainer_trainer.attempt DIRECTORY`.

The process says who it is before it imports anything that takes time, so that a trainer which is restarted
in this moment adopts it instead of starting another. A worker of a gang, or in a pod, is known to whoever
started it. No model of the catalogue is fitted by several workers: the first computes, the others end.
"""

import os
import sys
from pathlib import Path

from mltrainer_trainer.adapters.attempt_directory import AttemptDirectory
from mltrainer_trainer.adapters.processes import ProcessId, start_mark
from mltrainer_trainer.domain.workers import WORKER_INDEX


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m mltrainer_trainer.attempt DIRECTORY\n")
        return 2
    directory = AttemptDirectory(Path(arguments[0]).absolute())
    if directory.scratch.is_dir():
        os.chdir(directory.scratch)
    worker_index = os.environ.get(WORKER_INDEX)
    if worker_index is None:
        directory.write_process(ProcessId(os.getpid(), start_mark(os.getpid()) or ""))
    elif int(worker_index) > 0:
        return 0
    from mltrainer_trainer.attempt_bootstrap import run_attempt

    return run_attempt(directory)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    # A computing thread may still be in the middle of a step; nothing waits for it.
    os._exit(code)
