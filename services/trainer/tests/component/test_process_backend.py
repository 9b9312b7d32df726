"""The backend `process` keeps the promises of the port."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
from mltrainer_testkit.execution_backends import (
    CHECKS,
    LIMITS,
    Check,
    Program,
    attempt_of,
    order_of,
    place,
    reached,
)
from mltrainer_trainer.adapters.attempt_directory import directories, directory_of
from mltrainer_trainer.adapters.process_backend import ProcessBackend
from mltrainer_trainer.application.ports import Launch, LaunchError
from mltrainer_trainer.domain.attempt import NodeShare, Placement
from mltrainer_trainer.domain.execution import Ended, Executing

pytestmark = pytest.mark.integration

# As the real program does, it first says who it is; a worker of a gang is known to its launcher.
SHELL = (
    "/bin/sh",
    "-c",
    (
        'test -n "$MLTRAINER_WORKER_INDEX" || { cd "$0" && printf \'{"pid": %d, "start_mark": "%s"}\' '
        '$$ "$(cut -d" " -f22 /proc/$$/stat)" >process.new && mv process.new process.json; }; '
        'eval "$(cat "$0/order.binpb")"'
    ),
)


@dataclass(slots=True)
class ProcessMachine:
    root: Path
    gpus: float = 2.0
    patience_s: float = 20.0

    def backend(self) -> ProcessBackend:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        return ProcessBackend(
            self.root, environment, order_of, program=SHELL, gpus=self.gpus, gpu_type="A100"
        )

    @asynccontextmanager
    async def trainer(self) -> AsyncIterator[ProcessBackend]:
        yield self.backend()

    def node(self) -> str:
        return "nodes/local-0"

    async def living(self, placement: Placement) -> int:
        leader = directory_of(self.root, placement).process()
        if leader is None:
            return 0
        parents = _living_members(leader.pid)
        launchers = {leader.pid} if placement.limits.workers > 1 else set()
        above_workers = launchers | {parent for parent in parents.values() if parent not in parents}
        return sum(parent in above_workers for pid, parent in parents.items() if pid not in launchers)

    async def left_behind(self) -> list[str]:
        return [str(directory.path) for directory in directories(self.root)]

    def end(self) -> None:
        for directory in directories(self.root):
            process = directory.process()
            if process is not None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def _living_members(group: int) -> dict[int, int]:
    """Maps each living process of a group to its parent, as both were at one moment."""
    parents: dict[int, int] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError), process.oneshot():
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                parents[process.pid] = process.ppid()
    return parents


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[ProcessMachine]:
    machine = ProcessMachine(tmp_path)
    yield machine
    machine.end()


@pytest.mark.parametrize("check", [pytest.param(check, id=check.__name__) for check in CHECKS])
async def test_processes_keep_the_promises_of_the_port(machine: ProcessMachine, check: Check) -> None:
    await check(machine)


async def test_fractions_of_a_gpu_share_it_and_free_ones_are_given_again(machine: ProcessMachine) -> None:
    backend = machine.backend()
    half = replace(LIMITS, gpus=0.5, gpu_type="A100")
    placements = [place(Program.WAIT, f"share{index}", limits=half) for index in range(4)]

    for placement in placements:
        assert isinstance(await backend.start(Launch(placement, 0, 60.0)), Executing)
    with pytest.raises(LaunchError, match="free"):
        await backend.start(Launch(place(Program.WAIT, "fifth", limits=half), 0, 60.0))
    given = [directory_of(machine.root, it).devices() for it in placements]
    await backend.stop(attempt_of(placements[0]), force=True)
    await reached(machine, backend, attempt_of(placements[0]), Ended)
    again = await backend.start(Launch(place(Program.WAIT, "sixth", limits=half), 0, 60.0))

    assert sorted(given, key=str) == [{0: 0.5}, {0: 0.5}, {1: 0.5}, {1: 0.5}]
    assert isinstance(again, Executing)


async def test_output_on_disk_is_cut_while_it_is_written(machine: ProcessMachine) -> None:
    placement = place(Program.WAIT, "loud")
    backend = replace(machine.backend(), output_limit_bytes=1000)
    await backend.start(Launch(placement, 0, 60.0))
    log = directory_of(machine.root, placement).log_file
    with log.open("ab") as written:
        written.write(b"x" * 5000 + b"end")

    await backend.observe(attempt_of(placement))

    assert log.stat().st_size == 500
    assert log.read_bytes().endswith(b"end")


async def test_a_gang_on_several_nodes_is_refused_by_one_machine(machine: ProcessMachine) -> None:
    limits = replace(LIMITS, workers=2)
    placement = replace(
        place(Program.WAIT, "wide", limits=limits), shares=(NodeShare("nodes/a", 1), NodeShare("nodes/b", 1))
    )

    with pytest.raises(LaunchError, match="several nodes"):
        await machine.backend().start(Launch(placement, 0, 60.0))

    assert await machine.left_behind() == []
