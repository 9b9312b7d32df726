"""Reads recorded jobs and nodes from CSV files, and says exactly where one is wrong."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mltrainer_scheduling.nodes import Node
from mltrainer_scheduling.simulation import TraceJob
from mltrainer_scheduling.snapshot import History

from mltrainer_cli.errors import CliError, ExitCode

JOB_COLUMNS = ("job_id", "submit_s", "gpus", "duration_s")
NODE_COLUMNS = ("node", "gpus")


def read_jobs(path: Path) -> list[TraceJob]:
    """Reads `job_id, submit_s, gpus, duration_s` and, where there is one, the group in `vc`."""
    jobs: list[TraceJob] = []
    rows_of: dict[str, int] = {}
    for row, cells in _rows(path, JOB_COLUMNS):
        job_id = cells["job_id"]
        if not job_id:
            raise _wrong(path, row, "job_id", "is empty")
        if job_id in rows_of:
            raise _wrong(path, row, "job_id", f"{job_id!r} is the id of row {rows_of[job_id]} too")
        rows_of[job_id] = row
        jobs.append(
            TraceJob(
                job_id,
                _number(path, row, cells, "submit_s"),
                _whole(path, row, cells, "gpus"),
                _number(path, row, cells, "duration_s", is_positive=True),
                cells.get("vc") or "",
            )
        )
    if not jobs:
        raise CliError(f"{path} holds no jobs.", ExitCode.USAGE)
    return jobs


def read_history(path: Path) -> History:
    """Reads finished jobs. Their clock is not that of the trace, so submission times are left out."""
    jobs = read_jobs(path)
    return History(
        np.array([job.duration_s for job in jobs]),
        np.array([float(job.gpus) for job in jobs]),
        tuple(job.group for job in jobs),
    )


def read_nodes(path: Path) -> tuple[Node, ...]:
    """Reads `node, gpus` and, where there is one, the type in `gpu_model`."""
    nodes: dict[str, Node] = {}
    for row, cells in _rows(path, NODE_COLUMNS):
        name = cells["node"]
        if not name or name in nodes:
            raise _wrong(path, row, "node", "is empty" if not name else f"{name!r} is there twice")
        gpus = _whole(path, row, cells, "gpus", least=0)
        nodes[name] = Node(name, gpus, gpu_type=cells.get("gpu_model") or "")
    if not nodes:
        raise CliError(f"{path} holds no nodes.", ExitCode.USAGE)
    return tuple(nodes.values())


def _rows(path: Path, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields the number of each row, the header being row 1, and its cells."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            missing = [name for name in required if name not in header]
            if missing:
                raise CliError(f"{path} lacks the column {', '.join(missing)}.", ExitCode.USAGE)
            for cells in reader:
                if not cells:
                    continue
                row = reader.line_num
                if len(cells) != len(header):
                    fault = f"{path}, row {row}: {len(cells)} cells, but the header names {len(header)}."
                    raise CliError(fault, ExitCode.USAGE)
                yield row, dict(zip(header, (cell.strip() for cell in cells), strict=True))
    except OSError as error:
        raise CliError.from_os_error(error, "read the trace") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise CliError(f"{path} is no CSV in UTF-8: {error}.", ExitCode.USAGE) from None


def _number(path: Path, row: int, cells: dict[str, str], column: str, *, is_positive: bool = False) -> float:
    try:
        value = float(cells[column])
    except ValueError:
        raise _wrong(path, row, column, f"{cells[column]!r} is no number") from None
    if not math.isfinite(value) or value < 0.0 or (is_positive and value == 0.0):
        wanted = "greater than zero" if is_positive else "zero or more"
        raise _wrong(path, row, column, f"{cells[column]!r} must be finite and {wanted}")
    return value


def _whole(path: Path, row: int, cells: dict[str, str], column: str, least: int = 1) -> int:
    value = _number(path, row, cells, column)
    if value != int(value) or value < least:
        raise _wrong(path, row, column, f"{cells[column]!r} must be a whole number of at least {least}")
    return int(value)


def _wrong(path: Path, row: int, column: str, fault: str) -> CliError:
    return CliError(f"{path}, row {row}, column {column}: {fault}.", ExitCode.USAGE)
