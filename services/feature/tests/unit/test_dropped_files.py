"""A folder in memory, whose files change as the test says; a clock that stands still."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from mltrainer_feature.application.import_bars import ImportBarsHandler
from mltrainer_feature.application.ports import Files, UnitOfWorkFactory
from mltrainer_feature.application.take_files import TakeDroppedFiles
from mltrainer_feature.application.wakeup import Wakeup
from mltrainer_feature.domain.dropped_files import (
    DropOutcome,
    DroppedFile,
    DropReason,
    DropState,
    UnfinishedFileError,
    is_offered,
)
from mltrainer_feature.domain.imports import BarImport, ImportState, import_name

NOW = datetime(2026, 1, 5, tzinfo=UTC)
SETTLE_S, MAX_BYTES = 5.0, 100
FILE = DroppedFile("bars.csv", 10, modified_ns=1, inode=7)


class FixedClock:
    def now(self) -> datetime:
        return NOW


@dataclass
class InMemoryDropFolder:
    """Holds files without bytes; `failure` strikes at the named step, as often as it is called."""

    listed: list[DroppedFile] = field(default_factory=list)
    outcomes: list[DropOutcome] = field(default_factory=list)
    stored: list[DroppedFile] = field(default_factory=list)
    failures: dict[str, BaseException] = field(default_factory=dict)

    def files(self) -> Sequence[DroppedFile]:
        return list(self.listed)

    def store(self, file: DroppedFile) -> str | None:
        self._fail("store")
        self.stored.append(file)
        return digest(file) if file in self.listed else None

    def put_away(self, outcome: DropOutcome) -> bool:
        self._fail("put_away")
        if outcome.file not in self.listed:
            return False
        self.listed.remove(outcome.file)
        self.outcomes.append(outcome)
        return True

    def _fail(self, step: str) -> None:
        if step in self.failures:
            raise self.failures[step]


@dataclass
class Desk:
    """The use case over fakes; a second `restarted` one knows only what folder and database know."""

    folder: InMemoryDropFolder = field(default_factory=InMemoryDropFolder)
    imports: dict[str, BarImport] = field(default_factory=dict)
    now_s: float = 0.0

    def __post_init__(self) -> None:
        self.take = self._use_case()

    def restart(self) -> None:
        self.take = self._use_case()

    async def look(self, after_s: float = SETTLE_S) -> list[DropOutcome]:
        self.now_s += after_s
        return [outcome async for outcome in self.take()]

    async def look_twice(self) -> list[DropOutcome]:
        return [*await self.look(), *await self.look()]

    def end_load(self, file: DroppedFile, **facts: Any) -> None:
        name = import_name(digest(file))
        self.imports[name] = replace(self.imports[name], **({"state": ImportState.SUCCEEDED} | facts))

    def _use_case(self) -> TakeDroppedFiles:
        work = cast(UnitOfWorkFactory, ImportTransactions(self.imports))
        handler = ImportBarsHandler(work, cast(Files, AnyFiles()), FixedClock(), Wakeup())
        return TakeDroppedFiles(
            self.folder,
            handler,
            work,
            monotonic_s=lambda: self.now_s,
            settle_s=SETTLE_S,
            max_bytes=MAX_BYTES,
        )


@dataclass(frozen=True, slots=True)
class ImportTransactions:
    """Bulk loads in memory, as unit of work and as snapshot."""

    loads: dict[str, BarImport]

    @property
    def imports(self) -> "ImportTransactions":
        return self

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator["ImportTransactions"]:
        yield self

    def snapshot(self) -> AbstractAsyncContextManager["ImportTransactions"]:
        return self()

    async def get(self, name: str) -> BarImport | None:
        return self.loads.get(name)

    async def save(self, bar_import: BarImport) -> None:
        self.loads[bar_import.name] = bar_import

    async def commit(self) -> None:
        """Keeps what was saved at once."""


class AnyFiles:
    def exists(self, sha256: str) -> bool:
        return bool(sha256)


class Killed(BaseException):
    """Ends the process between two steps."""


def digest(file: DroppedFile) -> str:
    return hashlib.sha256(f"{file.name} {file.size_bytes}".encode()).hexdigest()


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("bars.csv", True),
        ("bars.csv.gz", True),
        ("bars.parquet", True),
        ("bars.csv.part", False),
        (".bars.csv", False),
        ("notes.txt", False),
    ],
)
def test_only_finished_names_of_bars_are_offered(name: str, offered: bool) -> None:
    assert is_offered(name) is offered


async def test_a_file_is_taken_once_its_load_has_ended() -> None:
    desk = Desk(InMemoryDropFolder([FILE]))
    while_loading = await desk.look_twice()
    desk.end_load(FILE, accepted_count=3)

    found = await desk.look()

    assert while_loading == []
    assert [(one.state, one.reason) for one in found] == [(DropState.TAKEN, None)]
    assert desk.folder.listed == []
    assert desk.folder.stored == [FILE]


async def test_a_file_that_grows_is_left_alone_until_it_rests() -> None:
    desk = Desk()
    for size in range(1, 5):
        desk.folder.listed = [replace(FILE, size_bytes=size, modified_ns=size)]
        await desk.look()
    while_growing = list(desk.folder.stored)

    await desk.look(SETTLE_S)

    assert while_growing == []
    assert [file.size_bytes for file in desk.folder.stored] == [4]


async def test_an_empty_file_is_still_to_be_written() -> None:
    desk = Desk(InMemoryDropFolder([replace(FILE, size_bytes=0)]))

    await desk.look_twice()

    assert desk.folder.stored == []


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        pytest.param(replace(FILE, size_bytes=MAX_BYTES + 1), DropReason.TOO_LARGE, id="too large"),
        pytest.param(replace(FILE, is_link=True), DropReason.LINK, id="link"),
    ],
)
async def test_some_files_are_refused_unread(file: DroppedFile, reason: DropReason) -> None:
    desk = Desk(InMemoryDropFolder([file]))

    found = await desk.look_twice()

    assert [(one.state, one.reason) for one in found] == [(DropState.REFUSED, reason)]
    assert desk.folder.stored == []


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        pytest.param(
            {"state": ImportState.FAILED, "error": "the file is no CSV"},
            DropReason.UNREADABLE_BARS,
            id="unreadable",
        ),
        pytest.param({"refused_count": 2}, DropReason.NO_BAR_ACCEPTED, id="every bar refused"),
        pytest.param({"refused_count": 2, "accepted_count": 1}, None, id="some bars refused"),
        pytest.param({}, None, id="nothing new"),
    ],
)
async def test_a_file_is_judged_by_its_load(facts: dict[str, Any], reason: DropReason | None) -> None:
    desk = Desk(InMemoryDropFolder([FILE]))
    await desk.look_twice()
    desk.end_load(FILE, **facts)

    (outcome,) = await desk.look()

    assert outcome.reason == reason
    assert outcome.state == (DropState.REFUSED if reason else DropState.TAKEN)
    assert not reason or outcome.message


async def test_a_failed_load_is_judged_and_not_started_again() -> None:
    desk = Desk(InMemoryDropFolder([FILE]))
    await desk.look_twice()
    desk.end_load(FILE, state=ImportState.FAILED, error="no CSV")
    desk.folder.failures = {"put_away": PermissionError("read-only")}

    postponed = await desk.look_twice()

    assert [one.state for one in postponed] == [DropState.POSTPONED] * 2
    assert {one.state for one in desk.imports.values()} == {ImportState.FAILED}


@pytest.mark.parametrize("error", [PermissionError("forbidden"), UnfinishedFileError()])
async def test_a_file_that_cannot_be_read_holds_up_no_other(error: Exception) -> None:
    desk = Desk(InMemoryDropFolder([FILE, replace(FILE, name="link.csv", is_link=True)]))
    desk.folder.failures = {"store": error}

    found = await desk.look_twice()

    assert [(one.file.name, one.state, one.message) for one in found if one.file == FILE] == [
        ("bars.csv", DropState.POSTPONED, str(error))
    ]
    assert [one.file.name for one in desk.folder.outcomes] == ["link.csv"]


@pytest.mark.parametrize("step", ["store", "put_away"])
async def test_a_kill_between_two_steps_loses_nothing_and_doubles_nothing(step: str) -> None:
    desk = Desk(InMemoryDropFolder([FILE]))
    desk.folder.failures = {step: Killed()}
    await desk.look()
    if step == "put_away":
        await desk.look()
        desk.end_load(FILE, accepted_count=3)
    with pytest.raises(Killed):
        await desk.look()
    desk.folder.failures = {}
    desk.restart()

    await desk.look_twice()
    desk.end_load(FILE, accepted_count=3)
    await desk.look()

    assert [(one.file, one.state) for one in desk.folder.outcomes] == [(FILE, DropState.TAKEN)]
    assert list(desk.imports) == [import_name(digest(FILE))]


def test_other_bytes_of_the_same_name_are_kept_beside_it() -> None:
    loads = [BarImport(import_name(mark * 64), mark * 64, ImportState.SUCCEEDED, NOW) for mark in ("a", "b")]

    names = [DropOutcome(FILE, DropState.TAKEN, bar_import=load).kept_name for load in loads]

    assert names == ["aaaaaaaaaaaa-bars.csv", "bbbbbbbbbbbb-bars.csv"]
