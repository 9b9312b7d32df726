"""Keeps runs, faults, probes, holds and the kill switch in the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_chaos.adapters import tables
from mltrainer_chaos.application.ports import SwitchChange
from mltrainer_chaos.domain.run import (
    ChaosRun,
    Fault,
    FaultKind,
    Outcome,
    Phase,
    ProbeRecord,
    RunState,
    TargetProcess,
    Verdict,
)

_KEPT_PROBES = 1_000


@dataclass(frozen=True, slots=True)
class SqlRunRepository:
    """Keeps runs."""

    connection: AsyncConnection

    async def get(self, name: str) -> ChaosRun | None:
        return await self._first(tables.run.c.name == name)

    async def of_request(self, request_id: str) -> ChaosRun | None:
        return await self._first(tables.run.c.request_id == request_id)

    async def in_states(self, states: Sequence[RunState]) -> list[ChaosRun]:
        query = select(tables.run).where(tables.run.c.state.in_(states)).order_by(tables.run.c.ordinal)
        return [_run(row) for row in await self.connection.execute(query)]

    async def page(self, limit: int, before: int | None) -> list[ChaosRun]:
        query = select(tables.run).order_by(tables.run.c.ordinal.desc()).limit(limit)
        if before is not None:
            query = query.where(tables.run.c.ordinal < before)
        return [_run(row) for row in await self.connection.execute(query)]

    async def next_ordinal(self) -> int:
        latest = await self.connection.scalar(select(func.max(tables.run.c.ordinal)))
        return (latest or 0) + 1

    async def add(self, run: ChaosRun) -> None:
        await self.connection.execute(insert(tables.run).values(_run_row(run)))

    async def save(self, run: ChaosRun) -> None:
        change = update(tables.run).where(tables.run.c.name == run.name)
        await self.connection.execute(change.values(_run_row(run)))

    async def _first(self, condition: Any) -> ChaosRun | None:
        row = (await self.connection.execute(select(tables.run).where(condition))).first()
        return _run(row) if row else None


def _run_row(run: ChaosRun) -> dict[str, Any]:
    outcome = run.outcome
    return {
        "name": run.name,
        "ordinal": run.ordinal,
        "title": run.title,
        "experiment_json": run.experiment_json,
        "targets": list(run.targets),
        "actor": run.actor,
        "reason": run.reason,
        "create_time": run.create_time,
        "state": run.state.value,
        "request_id": run.request_id or None,
        "start_time": run.start_time,
        "end_time": run.end_time,
        "verdict": outcome.verdict.value if outcome else None,
        "explanation": outcome.explanation if outcome else None,
        "recovery_s": outcome.recovery_s if outcome else None,
        "journal": run.journal,
        "revision": run.revision,
    }


def _run(row: Any) -> ChaosRun:
    outcome = Outcome(Verdict(row.verdict), row.explanation, row.recovery_s) if row.verdict else None
    return ChaosRun(
        name=row.name,
        ordinal=row.ordinal,
        title=row.title,
        experiment_json=row.experiment_json,
        targets=tuple(row.targets),
        actor=row.actor,
        reason=row.reason,
        create_time=row.create_time,
        state=RunState(row.state),
        request_id=row.request_id or "",
        start_time=row.start_time,
        end_time=row.end_time,
        outcome=outcome,
        journal=row.journal,
        revision=row.revision,
    )


@dataclass(frozen=True, slots=True)
class SqlFaultRepository:
    """Keeps faults."""

    connection: AsyncConnection

    async def add(self, fault: Fault) -> None:
        row = {
            "id": fault.id,
            "run": fault.run,
            "action": fault.action,
            "kind": fault.kind.value,
            "target": fault.process.name,
            "pid": fault.process.pid,
            "start_mark": fault.process.start_mark,
            "inject_time": fault.inject_time,
            "lease_expire_time": fault.lease_expire_time,
            "revert_time": fault.revert_time,
        }
        await self.connection.execute(insert(tables.fault).values(row))

    async def mark_reverted(self, fault: str, time: datetime) -> None:
        table = tables.fault
        change = update(table).where(table.c.id == fault, table.c.revert_time.is_(None))
        await self.connection.execute(change.values(revert_time=time))

    async def of_run(self, run: str) -> list[Fault]:
        table = tables.fault
        query = select(table).where(table.c.run == run).order_by(table.c.inject_time, table.c.id)
        return [_fault(row) for row in await self.connection.execute(query)]

    async def lapsed(self, now: datetime) -> list[Fault]:
        table = tables.fault
        query = select(table).where(
            table.c.revert_time.is_(None),
            table.c.lease_expire_time <= now,
            table.c.kind == FaultKind.PAUSE.value,
        )
        return [_fault(row) for row in await self.connection.execute(query)]


def _fault(row: Any) -> Fault:
    return Fault(
        id=row.id,
        run=row.run,
        action=row.action,
        kind=FaultKind(row.kind),
        process=TargetProcess(row.target, row.pid, row.start_mark),
        inject_time=row.inject_time,
        lease_expire_time=row.lease_expire_time,
        revert_time=row.revert_time,
    )


@dataclass(frozen=True, slots=True)
class SqlProbeLog:
    """Keeps the latest probes of each run."""

    connection: AsyncConnection

    async def add(self, run: str, records: Sequence[ProbeRecord]) -> None:
        table = tables.probe_record
        latest = await self.connection.scalar(select(func.max(table.c.number)).where(table.c.run == run))
        first = (latest or 0) + 1
        rows = [
            {
                "run": run,
                "number": number,
                "probe": item.probe,
                "phase": item.phase.value,
                "passed": item.passed,
                "output": item.output,
                "duration_ms": item.duration_ms,
                "probe_time": item.probe_time,
            }
            for number, item in enumerate(records, first)
        ]
        await self.connection.execute(insert(table), rows)
        oldest = first + len(rows) - 1 - _KEPT_PROBES
        await self.connection.execute(delete(table).where(table.c.run == run, table.c.number <= oldest))

    async def of_run(self, run: str) -> list[ProbeRecord]:
        table = tables.probe_record
        query = select(table).where(table.c.run == run).order_by(table.c.number)
        return [
            ProbeRecord(row.probe, Phase(row.phase), row.passed, row.output, row.duration_ms, row.probe_time)
            for row in await self.connection.execute(query)
        ]


@dataclass(frozen=True, slots=True)
class SqlHoldRepository:
    """Lets one run at a time have a target; the primary key refuses a second one."""

    connection: AsyncConnection

    async def holders(self, targets: Sequence[str]) -> dict[str, str]:
        table = tables.target_hold
        query = select(table).where(table.c.target.in_(targets)).order_by(table.c.target)
        return {row.target: row.run for row in await self.connection.execute(query)}

    async def take(self, targets: Sequence[str], run: str) -> None:
        if rows := [{"target": target, "run": run} for target in targets]:
            await self.connection.execute(insert(tables.target_hold), rows)

    async def release(self, run: str) -> None:
        await self.connection.execute(delete(tables.target_hold).where(tables.target_hold.c.run == run))


@dataclass(frozen=True, slots=True)
class SqlSwitchRepository:
    """Keeps every use of the kill switch; the latest counts."""

    connection: AsyncConnection

    async def latest(self) -> SwitchChange | None:
        table = tables.kill_switch_change
        row = (await self.connection.execute(select(table).order_by(table.c.number.desc()).limit(1))).first()
        return SwitchChange(row.is_on, row.actor, row.reason, row.change_time) if row else None

    async def add(self, change: SwitchChange) -> None:
        row = {
            "is_on": change.is_on,
            "actor": change.actor,
            "reason": change.reason,
            "change_time": change.change_time,
        }
        await self.connection.execute(insert(tables.kill_switch_change).values(row))
