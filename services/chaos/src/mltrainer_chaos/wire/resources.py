"""Translates runs into resources of the contract."""

import json
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from mltrainer.chaos.v1 import resources_pb2 as resources

from mltrainer_chaos.application.browse import ShownRun
from mltrainer_chaos.application.request_run import PlannedFault, RequestRun
from mltrainer_chaos.domain.experiment import Experiment
from mltrainer_chaos.domain.run import Fault, ProbeRecord, RunState

_STATES = {
    RunState.PENDING: resources.ChaosRun.STATE_PENDING,
    RunState.EXECUTING: resources.ChaosRun.STATE_EXECUTING,
    RunState.FINISHED: resources.ChaosRun.STATE_FINISHED,
    RunState.ABORTED: resources.ChaosRun.STATE_ABORTED,
}


def to_timestamp(time: datetime | None) -> Timestamp | None:
    """Encodes an aware time; None stays unset."""
    if time is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


def encode_entry(shown: ShownRun) -> resources.ChaosRun:
    """Encodes a run for a list: without experiment and journal, which would not fit one message."""
    entry = encode_run(shown)
    entry.ClearField("experiment_json")
    entry.ClearField("journal_json")
    return entry


def encode_run(shown: ShownRun) -> resources.ChaosRun:
    """Encodes a run with its faults and probes."""
    run, outcome = shown.run, shown.run.outcome
    return resources.ChaosRun(
        name=run.name,
        title=run.title,
        experiment_json=run.experiment_json,
        state=_STATES[run.state],
        verdict=outcome.verdict if outcome else "",
        recovery_s=(outcome.recovery_s or 0.0) if outcome else 0.0,
        probes=[_probe(item) for item in shown.probes],
        faults=[_fault(item) for item in shown.faults],
        explanation=outcome.explanation if outcome else "",
        start_time=to_timestamp(run.start_time),
        end_time=to_timestamp(run.end_time),
        actor=run.actor,
        reason=run.reason,
        journal_json=json.dumps(run.journal, ensure_ascii=False) if run.journal else "",
    )


def encode_plan(
    command: RequestRun, experiment: Experiment, planned: list[PlannedFault]
) -> resources.ChaosRun:
    """Encodes what a dry run has found; it has no name, for nothing was stored."""
    faults = [
        resources.FaultRecord(fault=item.action, target=f"{item.process.name} (pid {item.process.pid})")
        for item in planned
    ]
    return resources.ChaosRun(
        title=experiment.title,
        experiment_json=command.experiment_json,
        faults=faults,
        explanation=f"the experiment is valid and would hit {', '.join(experiment.targets) or 'nothing'}",
        actor=command.actor,
        reason=command.reason,
    )


def _probe(record: ProbeRecord) -> resources.ProbeRecord:
    return resources.ProbeRecord(
        probe=record.probe,
        phase=record.phase,
        passed=record.passed,
        output=record.output,
        duration_ms=record.duration_ms,
        probe_time=to_timestamp(record.probe_time),
    )


def _fault(fault: Fault) -> resources.FaultRecord:
    return resources.FaultRecord(
        fault=fault.action,
        target=f"{fault.process.name} (pid {fault.process.pid})",
        inject_time=to_timestamp(fault.inject_time),
        lease_expire_time=to_timestamp(fault.lease_expire_time),
        revert_time=to_timestamp(fault.revert_time),
    )
