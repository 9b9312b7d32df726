"""The supervisor against real child processes: what dies comes back, and nothing is left."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from mltrainer_cli.logs import last_error
from mltrainer_cli.processes import ProcessIdentity, end
from mltrainer_cli.record import ProcessRecord, State, read_record, write_record
from mltrainer_cli.supervisor import Backoff, ProcessDefinition, Supervisor

pytestmark = pytest.mark.integration

Found = TypeVar("Found")

SLEEPER = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
FAILING = "import sys; sys.exit('mltrainer child: give it a name')"
PARENT_OF_A_SESSION = f"""
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {SLEEPER!r}], start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(60)
"""
SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from typing import TypeVar
sys.path.insert(0, sys.argv[2])
from test_supervisor import SLEEPER, define, supervisor_of
asyncio.run(supervisor_of(Path(sys.argv[1]), define("one", SLEEPER), define("two", SLEEPER)).run())
"""


async def test_a_killed_process_is_started_again_at_once(tmp_path: Path) -> None:
    async with supervised(tmp_path, define("service", SLEEPER)) as record_of:
        first = await eventually(lambda: ready_pid(record_of("service")))

        os.kill(first, signal.SIGKILL)
        second = await eventually(lambda: other_pid(record_of("service"), first), within_s=2.0)

        assert second != first
        assert record_of("service").restarts == 1
        assert record_of("service").exit_code == -signal.SIGKILL


async def test_nothing_is_left_after_a_stop_not_even_what_ignores_it(tmp_path: Path) -> None:
    async with supervised(tmp_path, define("a", SLEEPER), define("b", STUBBORN, grace_s=0.3)) as record_of:
        pids = [await eventually(lambda name=name: ready_pid(record_of(name))) for name in ("a", "b")]

    assert [pid for pid in pids if ProcessIdentity.of(pid)] == []
    assert record_of("a").state is State.STOPPED
    assert record_of("b").state is State.STOPPED


async def test_a_process_waits_for_those_it_needs_and_ends_before_them(tmp_path: Path) -> None:
    gate = asyncio.Event()
    broker = define("broker", SLEEPER, is_ready=lambda _pid: answer(value=gate.is_set()))

    async with supervised(tmp_path, broker, define("service", SLEEPER, after=("broker",))) as record_of:
        await eventually(lambda: record_of("broker").pid)
        waiting = record_of("service").state
        gate.set()
        await eventually(lambda: ready_pid(record_of("service")))

    assert waiting is State.WAITING


async def test_an_orphan_in_a_session_of_its_own_is_adopted_and_ended(tmp_path: Path) -> None:
    note = tmp_path / "orphan"

    async with supervised(tmp_path, define("trainer", PARENT_OF_A_SESSION, str(note))) as record_of:
        trainer = await eventually(lambda: ready_pid(record_of("trainer")))
        orphan = await eventually(lambda: written_pid(note))
        os.kill(trainer, signal.SIGKILL)
        await eventually(lambda: other_pid(record_of("trainer"), trainer))
        survived = ProcessIdentity.of(orphan) is not None
        parent = parent_of(orphan)

    assert survived
    assert parent == os.getpid()
    assert ProcessIdentity.of(orphan) is None


async def test_what_ran_before_the_supervisor_is_not_touched(tmp_path: Path) -> None:
    earlier = await asyncio.create_subprocess_exec(sys.executable, "-c", SLEEPER)

    async with supervised(tmp_path, define("service", SLEEPER)) as record_of:
        await eventually(lambda: ready_pid(record_of("service")))

    spared = ProcessIdentity.of(earlier.pid) is not None
    earlier.kill()
    await earlier.wait()

    assert spared


async def test_a_process_that_cannot_start_leaves_its_sentence_in_its_log(tmp_path: Path) -> None:
    async with supervised(tmp_path, define("child", FAILING)) as record_of:
        await eventually(lambda: record_of("child").restarts >= 2)

    log_file = Path(record_of("child").log_file)
    assert last_error(log_file, record_of("child").log_offset) == "give it a name"


async def test_a_record_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "record").mkdir()
    supervisor = supervisor_of(tmp_path, define("service", SLEEPER), record_file=tmp_path / "record")

    running = asyncio.create_task(supervisor.run())
    await asyncio.sleep(0.3)
    ended_early = running.done()
    supervisor.stop()
    await running

    assert not ended_early


def test_a_killed_supervisor_takes_its_processes_with_it(tmp_path: Path) -> None:
    program = [sys.executable, "-c", SUPERVISOR, str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(program) as supervisor:
        identities = asyncio.run(eventually(lambda: ready_identities(tmp_path), within_s=10.0))

        supervisor.kill()
        gone = asyncio.run(eventually(lambda: not any(one.is_alive() for one in identities), within_s=2.0))

    assert gone


def test_only_the_process_that_was_recorded_is_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPER]) as process:
        genuine = ProcessIdentity.of(process.pid)
        assert genuine is not None
        namesake = ProcessIdentity(process.pid, "an earlier start")

        end([namesake], grace_s=1.0)
        spared = process.poll() is None
        remaining = end([genuine], grace_s=5.0)

    assert spared
    assert remaining == []


def test_the_wait_before_a_restart_doubles_up_to_five_seconds_and_is_forgotten_after_ten() -> None:
    backoff = Backoff()

    waits = [backoff.wait_s(0.0) for _ in range(8)]

    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    assert backoff.wait_s(10.0) == pytest.approx(0.1)


def test_a_record_reads_back_as_written_and_a_torn_one_not_at_all(tmp_path: Path) -> None:
    supervisor = supervisor_of(tmp_path, define("service", SLEEPER))
    supervisor._publish()
    record = read_record(tmp_path / "supervisor.json")
    assert record is not None

    write_record(tmp_path / "copy.json", record)
    (tmp_path / "torn.json").write_text((tmp_path / "copy.json").read_text()[:-9])

    assert read_record(tmp_path / "copy.json") == record
    assert read_record(tmp_path / "torn.json") is None


async def answer(*, value: bool) -> bool:
    return value


def define(
    name: str,
    code: str,
    *arguments: str,
    after: tuple[str, ...] = (),
    grace_s: float = 5.0,
    is_ready: Callable[[int], object] = lambda _pid: answer(value=True),
) -> ProcessDefinition:
    command = (sys.executable, "-c", code, *arguments)
    return ProcessDefinition(name, command, dict(os.environ), is_ready, after, grace_s)  # type: ignore[arg-type]


def supervisor_of(
    directory: Path, *definitions: ProcessDefinition, record_file: Path | None = None
) -> Supervisor:
    return Supervisor(
        definitions, logs=directory / "logs", record_file=record_file or directory / "supervisor.json"
    )


@asynccontextmanager
async def supervised(
    directory: Path, *definitions: ProcessDefinition
) -> AsyncIterator[Callable[[str], ProcessRecord]]:
    supervisor = supervisor_of(directory, *definitions)

    def record_of(name: str) -> ProcessRecord:
        return supervisor._records[name]

    running = asyncio.create_task(supervisor.run())
    try:
        yield record_of
    finally:
        supervisor.stop()
        await asyncio.wait_for(running, 20.0)


async def eventually(look: Callable[[], Found | None], within_s: float = 5.0) -> Found:
    async with asyncio.timeout(within_s):
        while not (found := look()):  # noqa: ASYNC110  # another process decides
            await asyncio.sleep(0.02)
    return found


def ready_pid(record: ProcessRecord) -> int | None:
    return record.pid if record.state is State.READY else None


def other_pid(record: ProcessRecord, first: int) -> int | None:
    return record.pid if record.state is State.READY and record.pid != first else None


def written_pid(note: Path) -> int | None:
    return int(text) if note.exists() and (text := note.read_text()) else None


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def ready_identities(directory: Path) -> list[ProcessIdentity] | None:
    record = read_record(directory / "supervisor.json")
    if record is None or not record.is_ready:
        return None
    return [one.identity for one in record.processes if one.identity is not None]
