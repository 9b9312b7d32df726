"""`mltrainer costs`: what trainings cost, which part of it was idle, and what was wasted."""

from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mltrainer_cli.calls import all_pages, call, full_name, short, to_json, to_second, usd
from mltrainer_cli.console import print_json, print_line, print_rows
from mltrainer_cli.options import DataOption, Output, OutputOption

if TYPE_CHECKING:
    from mltrainer.cost_optimizer.v1.resources_pb2 import Bill, WasteFinding
    from mltrainer_sdk import Client

app = typer.Typer(no_args_is_help=True)

_COLUMNS = ("training", "study", "usd", "idle_usd", "idle_share", "allocated_cpu_s", "used_cpu_s")
_STUDY_COLUMNS = ("study", "trainings", "usd", "idle_usd", "idle_share")
_WASTE_COLUMNS = ("create_time", "kind", "resource", "usd", "explanation")
_SUMS = ("billed_micros", "idle_micros", "allocated_cpu_seconds", "used_cpu_seconds")


@app.command()
def report(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    study: Annotated[str, typer.Option(help="Only of this study.")] = "",
    start: Annotated[
        datetime | None, typer.Option(help="From then on, UTC; the beginning if not said.")
    ] = None,
    end: Annotated[datetime | None, typer.Option(help="Until then, UTC; now if not said.")] = None,
) -> None:
    """Show the bill of a period by training and by study."""
    from mltrainer.cost_optimizer.v1.cost_optimizer_service_pb2 import GetBillRequest

    request = GetBillRequest(study=full_name("studies", study) if study else "")
    if start:
        request.start_time.FromDatetime(start.replace(tzinfo=UTC))
    if end:
        request.end_time.FromDatetime(end.replace(tzinfo=UTC))
    bill = bill_to_json(call(data, lambda client: client.cost_optimizer.GetBill(request)))
    if output is Output.JSON:
        print_json(bill)
        return
    print_rows(map(_row, bill["lines"]), _COLUMNS, output, title="by training")
    print_rows(map(_row, bill["studies"]), _STUDY_COLUMNS, output, title="by study")
    print_line(f"Total {usd(bill['total_micros'])} USD, of which {usd(bill['idle_micros'])} USD idle.")
    if bill["price_file"]:
        print_line(f"Prices: {bill['price_file']}.")


@app.command()
def waste(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
) -> None:
    """List money spent on nothing, newest first."""
    found = [to_json(one) for one in call(data, lambda client: _waste(client, limit))]
    if output is Output.JSON:
        print_json(found)
        return
    rows = [
        {**one, "usd": usd(one["cost_micros"]), "create_time": to_second(one.get("create_time"))}
        for one in found
    ]
    print_rows(rows, _WASTE_COLUMNS, output)
    print_line(f"Together {usd(sum(one['cost_micros'] for one in found))} USD.")


def bill_to_json(bill: "Bill") -> dict[str, Any]:
    """Returns a bill as a JSON object with its sums by study, largest first."""
    fields = to_json(bill)
    by_study: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in fields["lines"]:
        by_study[line["study"]].append(line)
    studies = [_study(study, lines) for study, lines in by_study.items()]
    return {**fields, "studies": sorted(studies, key=lambda line: -line["billed_micros"])}


def _study(study: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
    sums = {name: sum(line[name] for line in lines) for name in _SUMS}
    billed = sums["billed_micros"]
    share = sums["idle_micros"] / billed if billed else 0.0
    return {"study": study, "trainings": len(lines), **sums, "idle_share": share}


def _row(line: dict[str, Any]) -> dict[str, Any]:
    trainings = {"training": short(line["training"])} if "training" in line else {}
    return {
        **line,
        **trainings,
        "study": short(line["study"]),
        "usd": usd(line["billed_micros"]),
        "idle_usd": usd(line["idle_micros"]),
        "idle_share": f"{line['idle_share']:.1%}",
        "allocated_cpu_s": f"{line['allocated_cpu_seconds']:.1f}",
        "used_cpu_s": f"{line['used_cpu_seconds']:.1f}",
    }


async def _waste(client: "Client", limit: int) -> "list[WasteFinding]":
    from mltrainer.cost_optimizer.v1.cost_optimizer_service_pb2 import ListWasteFindingsRequest

    async def fetch(size: int, token: str) -> "tuple[list[WasteFinding], str]":
        request = ListWasteFindingsRequest(page_size=size, page_token=token)
        page = await client.cost_optimizer.ListWasteFindings(request)
        return list(page.waste_findings), page.next_page_token

    return await all_pages(fetch, limit)
