"""Makes training requests from files and from options of the command line."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltrainer_cli.errors import CliError, ExitCode

if TYPE_CHECKING:
    from mltrainer.scheduler.v1.events_pb2 import TrainingRequested

_KIND_PREFIX = "TARGET_KIND_"


def read_request_file(path: Path) -> dict[str, Any]:
    """Reads a training request of a YAML or JSON file with the field names of `TrainingRequested`.

    Raises:
        CliError: It cannot be read or is no mapping.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CliError.from_os_error(error, "read the training request") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first_line = str(error).partition("\n")[0]
        raise CliError(f"{path} is neither YAML nor JSON: {first_line}.", ExitCode.USAGE) from error
    if not isinstance(content, dict):
        raise CliError(f"{path} must hold one mapping of fields.", ExitCode.USAGE)
    return content


def merge(fields: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Lays options over the fields of a file; options that were not given are None or empty."""
    merged = dict(fields)
    for name, value in options.items():
        if isinstance(value, Mapping):
            inner = merge(merged.get(name) or {}, value)
            if inner:
                merged[name] = inner
        elif value is not None and value not in ("", [], ()):
            merged[name] = value
    return merged


def to_request(fields: Mapping[str, Any]) -> "TrainingRequested":
    """Makes the event; values are judged by the scheduler, names of fields here.

    Raises:
        CliError: A field is unknown or its value of another type.
    """
    from google.protobuf.json_format import ParseDict, ParseError
    from mltrainer.scheduler.v1.events_pb2 import TrainingRequested

    try:
        return ParseDict(plain_fields(fields), TrainingRequested())
    except ParseError as error:
        raise CliError(f"The training request is not well formed: {error}.", ExitCode.USAGE) from error


def plain_fields(value: Any) -> Any:
    """Turns the dates of YAML into the texts of JSON, and short target kinds into full ones."""
    match value:
        case Mapping():
            return {str(name): plain_fields(_kind(name, item)) for name, item in value.items()}
        case list() | tuple():
            return [plain_fields(item) for item in value]
        case datetime():
            aware = value.replace(tzinfo=value.tzinfo or UTC)
            return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date():
            return plain_fields(datetime.combine(value, time(), UTC))
    return value


def _kind(name: object, value: Any) -> Any:
    if name == "kind" and isinstance(value, str):
        return _KIND_PREFIX + value.upper().removeprefix(_KIND_PREFIX)
    return value
