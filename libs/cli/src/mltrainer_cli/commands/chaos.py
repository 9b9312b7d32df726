"""`mltrainer chaos`: run chaos experiments, look at them, stop them all."""

import asyncio
import getpass
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from mltrainer_cli.chaos_runs import Narration, read_experiment, run_to_json, summary
from mltrainer_cli.console import print_fields, print_json, print_line, print_rows
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.errors import ExitCode
from mltrainer_cli.options import DataOption, Output, OutputOption

if TYPE_CHECKING:
    from mltrainer.chaos.v1.resources_pb2 import ChaosRun
    from mltrainer_sdk import Client

app = typer.Typer(no_args_is_help=True)

_POLL_S = 0.2
_PATIENCE_S = 30.0
_COLUMNS = ("name", "state", "verdict", "recovery_s", "targets", "start_time")
_PASSED = "PASSED"
T = TypeVar("T")
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept with the record.")]


@app.command("run")
def run_experiment(
    data: DataOption,
    file: Annotated[
        Path, typer.Argument(help="Experiment in the Chaos Toolkit's format, JSON or YAML.", metavar="FILE")
    ],
    output: OutputOption = Output.TABLE,
    *,
    reason: ReasonOption = "asked for on the command line",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check it and list what it hits.")] = False,
    journal: Annotated[
        Path | None, typer.Option("--journal", help="Write the journal here.", metavar="FILE")
    ] = None,
) -> None:
    """Run a chaos experiment and wait for its verdict; exit code 8 unless it has passed."""
    experiment_json = read_experiment(file)
    narration = Narration(lambda text: print_line(text, output))
    run = asyncio.run(_run(data, experiment_json, reason, dry_run=dry_run, on_change=narration))
    if journal and run.journal_json:
        journal.write_text(run.journal_json)
    if output is Output.JSON:
        print_json(run_to_json(run))
    else:
        print_fields(summary(run), output)
    if not dry_run and run.verdict != _PASSED:
        raise typer.Exit(ExitCode.CLAIM_FAILED)


@app.command("list")
def list_runs(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    limit: Annotated[int, typer.Option(min=1, help="Only the latest so many.")] = 20,
) -> None:
    """List runs, newest first."""
    runs = asyncio.run(_with_client(data, lambda client: _list(client, limit)))
    print_rows(
        [run_to_json(run) if output is Output.JSON else summary(run) for run in runs], _COLUMNS, output
    )


@app.command()
def show(
    data: DataOption,
    name: Annotated[str, typer.Argument(help="As `chaos list` shows it.", metavar="RUN")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a run with its faults and its latest probes."""
    run = asyncio.run(_with_client(data, lambda client: _get(client, name)))
    if output is Output.JSON:
        print_json(run_to_json(run))
        return
    print_fields(summary(run), output)
    found = run_to_json(run)
    faults = ("fault", "target", "inject_time", "lease_expire_time", "revert_time")
    print_rows(found.get("faults", []), faults, output, title="faults")
    probes = ("probe_time", "phase", "probe", "passed", "output", "duration_ms")
    print_rows(found.get("probes", [])[-20:], probes, output, title="latest probes")


@app.command("stop-all")
def stop_all(data: DataOption, output: OutputOption = Output.TABLE, *, reason: ReasonOption = "") -> None:
    """End every run, undo every fault, and refuse new runs until `chaos release`."""
    stopped = asyncio.run(_with_client(data, lambda client: _stop_all(client, reason)))
    if output is Output.JSON:
        print_json({"stopped_chaos_runs": stopped})
        return
    print_line(f"Stopped {len(stopped)} runs. New ones are refused until `mltrainer chaos release`.")


@app.command()
def release(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why runs are safe again; kept.")],
) -> None:
    """Allow runs again after `chaos stop-all`."""
    asyncio.run(_with_client(data, lambda client: _release(client, reason)))
    if output is Output.JSON:
        print_json({"released": True})
        return
    print_line("Runs are allowed again.")


async def _run(
    data: DataDirectory,
    experiment_json: str,
    reason: str,
    *,
    dry_run: bool,
    on_change: Callable[["ChaosRun"], None],
) -> "ChaosRun":
    from mltrainer.chaos.v1.chaos_service_pb2 import CreateChaosRunRequest
    from mltrainer_common.ids import new_id

    request = CreateChaosRunRequest(
        experiment_json=experiment_json, reason=reason, dry_run=dry_run, request_id=new_id()
    )
    async with _client(data) as client:
        run = await client.chaos.CreateChaosRun(request)
        while not dry_run and not run.verdict:
            on_change(run)
            await asyncio.sleep(_POLL_S)
            run = await _look_again(client, run)
        if not dry_run:
            on_change(run)
        return run


async def _look_again(client: "Client", run: "ChaosRun") -> "ChaosRun":
    """Reads the run, through a restart of chaos."""
    import grpc
    from mltrainer_common.errors import RpcFailure

    until_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return await _get(client, run.name)
        except RpcFailure as failure:
            passing = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
            if failure.code not in passing or time.monotonic() > until_s:
                raise
        await asyncio.sleep(_POLL_S)


async def _get(client: "Client", name: str) -> "ChaosRun":
    from mltrainer.chaos.v1.chaos_service_pb2 import GetChaosRunRequest

    full = name if name.startswith("chaosRuns/") else f"chaosRuns/{name}"
    return await client.chaos.GetChaosRun(GetChaosRunRequest(name=full))


async def _list(client: "Client", limit: int) -> list["ChaosRun"]:
    from mltrainer.chaos.v1.chaos_service_pb2 import ListChaosRunsRequest

    found: list[ChaosRun] = []
    token = ""
    while len(found) < limit:
        request = ListChaosRunsRequest(page_size=min(limit - len(found), 100), page_token=token)
        page = await client.chaos.ListChaosRuns(request)
        found.extend(page.chaos_runs)
        token = page.next_page_token
        if not token:
            break
    return found


async def _stop_all(client: "Client", reason: str) -> list[str]:
    from mltrainer.chaos.v1.chaos_service_pb2 import StopAllChaosRunsRequest

    stopped = await client.chaos.StopAllChaosRuns(StopAllChaosRunsRequest(reason=reason))
    return list(stopped.stopped_chaos_runs)


async def _release(client: "Client", reason: str) -> None:
    from mltrainer.chaos.v1.chaos_service_pb2 import ReleaseKillSwitchRequest

    _ = await client.chaos.ReleaseKillSwitch(ReleaseKillSwitchRequest(reason=reason))


async def _with_client(data: DataDirectory, action: Callable[["Client"], Awaitable[T]]) -> T:
    async with _client(data) as client:
        return await action(client)


@asynccontextmanager
async def _client(data: DataDirectory) -> AsyncIterator["Client"]:
    from mltrainer_common.authorization import Role
    from mltrainer_sdk import Client

    subject = f"users/{getpass.getuser()}"
    async with Client.connect(data.path, subject=subject, roles=[Role.OPERATOR]) as client:
        yield client
