"""Hands files of bars over to the feature service."""

import asyncio
import io
from pathlib import Path
from typing import TYPE_CHECKING

from mltrainer_cli.calls import call
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.errors import CliError, ExitCode

if TYPE_CHECKING:
    from mltrainer.feature.v1.resources_pb2 import BarImport
    from mltrainer_sdk import Client

_POLL_S = 0.2
_COLUMNS = ("symbol", "event_time", "close")


def backfill_file(data: DataDirectory, file: Path, timeout_s: float) -> "BarImport":
    """Stores a file where the service finds it, and waits until it is loaded.

    Raises:
        CliError: The file cannot be read, or the load takes longer.
    """
    content = to_csv(file)

    async def ask(client: "Client") -> "BarImport":
        from mltrainer.feature.v1.feature_service_pb2 import GetBarImportRequest, ImportBarsRequest
        from mltrainer.feature.v1.resources_pb2 import BarImport
        from mltrainer_common.content_store import ContentStore

        store = ContentStore(str(data.path / "artifacts"))
        digest = await asyncio.to_thread(store.put_bytes, content)
        found = await client.feature.ImportBars(ImportBarsRequest(sha256=digest))
        while found.state == BarImport.STATE_RUNNING:
            await asyncio.sleep(_POLL_S)
            found = await client.feature.GetBarImport(GetBarImportRequest(name=found.name))
        return found

    try:
        return call(data, lambda client: asyncio.wait_for(ask(client), timeout_s))
    except TimeoutError:
        raise CliError(
            f"{file} is still being loaded after {timeout_s:.0f} s: the same command waits on.",
            ExitCode.TIMED_OUT,
        ) from None


def to_csv(file: Path) -> bytes:
    """Returns the bytes of a file of bars as the service reads them.

    Raises:
        CliError: The file cannot be read, or lacks a column.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CliError.from_os_error(error, f"read {file}") from None
    if not content.startswith(b"PAR1"):
        return content
    import polars as pl

    try:
        table = pl.read_parquet(io.BytesIO(content))
    except pl.exceptions.PolarsError as error:
        raise CliError(f"{file} is no Parquet file: {str(error).splitlines()[0]}.") from None
    if missing := [name for name in _COLUMNS if name not in table.columns]:
        raise CliError(f"{file} lacks the columns {', '.join(missing)}.", ExitCode.USAGE)
    kind = table.schema["event_time"]
    if isinstance(kind, pl.Datetime):
        if kind.time_zone is None:
            raise CliError(
                f"The event times of {file} have no time zone: write them with one, such as UTC.",
                ExitCode.USAGE,
            )
        moment = pl.col("event_time").dt.convert_time_zone("UTC")
        table = table.with_columns(event_time=moment.dt.to_string("%Y-%m-%dT%H:%M:%S%.fZ"))
    return table.write_csv().encode()
