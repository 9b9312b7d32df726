"""Writes bills, charges and findings as their contracts."""

from mltrainer.cost_optimizer.v1 import resources_pb2 as resources

from mltrainer_cost_optimizer.application.answer import NamedCharge
from mltrainer_cost_optimizer.domain.bill import Bill
from mltrainer_cost_optimizer.domain.waste import WasteFinding
from mltrainer_cost_optimizer.wire.times import to_timestamp


def from_bill(bill: Bill) -> resources.Bill:
    """Writes a bill."""
    return resources.Bill(
        start_time=to_timestamp(bill.period.start_time),
        end_time=to_timestamp(bill.period.end_time),
        total_micros=bill.total_micros,
        idle_micros=bill.idle_micros,
        lines=[
            resources.BillLine(
                training=line.training,
                study=line.study,
                billed_micros=line.billed_micros,
                idle_micros=line.idle_micros,
                idle_share=line.idle_share,
                allocated_cpu_seconds=line.allocated_cpu_seconds,
                used_cpu_seconds=line.used_cpu_seconds,
            )
            for line in bill.lines
        ],
        price_file=", ".join(bill.price_files),
    )


def from_charge(named: NamedCharge) -> resources.Charge:
    """Writes a charge."""
    charge = named.charge
    return resources.Charge(
        name=f"charges/{named.charge_id}",
        resource_id=charge.resource_id,
        training=charge.training,
        study=charge.study,
        owner=charge.owner,
        charge_period_start=to_timestamp(charge.charge_period.start_time),
        charge_period_end=to_timestamp(charge.charge_period.end_time),
        sku_id=charge.sku_id,
        consumed_quantity=charge.consumed_quantity,
        list_unit_price_usd=charge.list_unit_price_micros / 1e6,
        billed_cost_micros=charge.billed_cost_micros,
        list_cost_micros=charge.list_cost_micros,
        idle_cost_micros=charge.idle_cost_micros,
    )


def from_finding(finding: WasteFinding) -> resources.WasteFinding:
    """Writes a finding."""
    return resources.WasteFinding(
        name=f"wasteFindings/{finding.finding_id}",
        kind=finding.kind,
        resource=finding.resource,
        cost_micros=finding.cost_micros,
        explanation=finding.explanation,
        create_time=to_timestamp(finding.create_time),
    )
