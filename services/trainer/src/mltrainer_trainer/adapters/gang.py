"""Executes the workers of a gang on this machine: `python -m mltrainer_trainer.adapters.gang NODES PROGRAM…`.

NODES names the node of each worker, with commas. The last argument is the directory of the attempt. All
workers are children of this process and members of its group, so whoever ends the group ends the gang. The
first worker that fails takes the others with it; the gang succeeds once all have.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from mltrainer_trainer.adapters.attempt_directory import AttemptDirectory
from mltrainer_trainer.adapters.processes import ProcessId, start_mark
from mltrainer_trainer.domain.workers import WORKER_COUNT, WORKER_INDEX, WORKER_NODE


def run_gang(nodes: Sequence[str], program: Sequence[str]) -> int:
    """Returns the exit code of the first worker that failed, or 0."""
    workers = {}
    try:
        for index, node in enumerate(nodes):
            facts = {WORKER_INDEX: str(index), WORKER_COUNT: str(len(nodes)), WORKER_NODE: node}
            worker = subprocess.Popen(program, env={**os.environ, **facts})
            workers[worker.pid] = worker
    except OSError as error:
        sys.stderr.write(f"the gang cannot start: {error}\n")
        _end(workers.values())
        return 1
    while workers:
        pid, status = os.wait()
        worker = workers.pop(pid)
        worker.returncode = code = os.waitstatus_to_exitcode(status)
        if code:
            _end(workers.values())
            return code if code > 0 else 128 - code
    return 0


def _end(workers: Collection["subprocess.Popen[bytes]"]) -> None:
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.wait()


if __name__ == "__main__":
    AttemptDirectory(Path(sys.argv[-1])).write_process(ProcessId(os.getpid(), start_mark(os.getpid()) or ""))
    # The group is asked to end as a whole; the workers decide what that means, this process waits for them.
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    sys.exit(run_gang(sys.argv[1].split(","), sys.argv[2:]))
