"""Translates between rows and domain values."""

from collections.abc import Iterable
from typing import Any

from mltrainer_cost_optimizer.domain.account import Account, Ending, QuietSince, Reservation, Usage
from mltrainer_cost_optimizer.domain.money import Rate, Resource
from mltrainer_cost_optimizer.domain.waste import WasteFinding, WasteKind

Row = Any
"""A row of SQLAlchemy; its columns are attributes."""


def account_row(account: Account) -> dict[str, Any]:
    """Writes an account without its rates."""
    held, ending, usage, quiet = account.reservation, account.ending, account.usage, account.quiet_since
    return {
        "name": account.allocation,
        "training": held.training if held else None,
        "study": held.study if held else None,
        "owner": held.owner if held else None,
        "start_time": held.start_time if held else None,
        "end_time": ending.end_time if ending else None,
        "end_reason": ending.reason if ending else None,
        "used_cpu_us": usage.cpu_us,
        "used_gpu_us": usage.gpu_us,
        "peak_memory_bytes": usage.memory_bytes,
        "sample_time": usage.sample_time,
        "quiet_since_time": quiet.time if quiet else None,
        "quiet_since_cpu_us": quiet.cpu_us if quiet else 0,
    }


def read_account(row: Row, rates: Iterable[Rate]) -> Account:
    """Reads an account with its rates."""
    held = (
        Reservation(row.training, row.study, row.owner, row.start_time, tuple(rates))
        if row.start_time
        else None
    )
    return Account(
        allocation=row.name,
        reservation=held,
        ending=Ending(row.end_time, row.end_reason) if row.end_time else None,
        usage=Usage(row.used_cpu_us, row.used_gpu_us, row.peak_memory_bytes, row.sample_time),
        quiet_since=QuietSince(row.quiet_since_time, row.quiet_since_cpu_us)
        if row.quiet_since_time
        else None,
    )


def rate_rows(account: Account) -> list[dict[str, Any]]:
    """Writes the rates of an account."""
    held = account.reservation
    if held is None:
        return []
    return [
        {
            "charge_id": charge_id(account.allocation, rate.resource),
            "allocation": account.allocation,
            "start_time": held.start_time,
            "sku_id": rate.sku_id,
            "resource": rate.resource,
            "amount": rate.amount,
            "unit_price_micros": rate.unit_price_micros,
            "list_unit_price_micros": rate.list_unit_price_micros,
            "price_file": rate.price_file,
        }
        for rate in held.rates
    ]


def charge_id(allocation: str, resource: Resource) -> str:
    """Names the charge of one resource of an allocation."""
    return f"{allocation.removeprefix('allocations/')}-{resource.lower()}"


def read_rate(row: Row) -> Rate:
    """Reads a rate."""
    return Rate(
        row.sku_id,
        Resource(row.resource),
        row.amount,
        row.unit_price_micros,
        row.list_unit_price_micros,
        row.price_file,
    )


def finding_row(finding: WasteFinding) -> dict[str, Any]:
    """Writes a finding."""
    return {
        "id": finding.finding_id,
        "kind": finding.kind,
        "resource": finding.resource,
        "cost_micros": finding.cost_micros,
        "explanation": finding.explanation,
        "create_time": finding.create_time,
    }


def read_finding(row: Row) -> WasteFinding:
    """Reads a finding."""
    return WasteFinding(WasteKind(row.kind), row.resource, row.cost_micros, row.explanation, row.create_time)
