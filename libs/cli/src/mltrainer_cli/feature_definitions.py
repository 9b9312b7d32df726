"""Reads files that declare on-demand views and feature services, and tells what applying them changes."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltrainer_cli.errors import CliError, ExitCode

if TYPE_CHECKING:
    from mltrainer.feature.v1.feature_service_pb2 import ApplyFeatureDefinitionsRequest

_FEATURE = ("name", "unit", "description")
_FIELDS = {
    "on_demand_views": {"name", "description", "request_fields", "features"},
    "feature_services": {"name", "description", "features"},
}
_SIGNS = {"CREATE": "+", "UPDATE": "~", "REMOVE": "-", "KEEP": " "}


def read_definitions(path: Path) -> "ApplyFeatureDefinitionsRequest":
    """Reads a YAML or JSON file: `on_demand_views` and `feature_services`, with the contract's field names.

    Raises:
        CliError: It cannot be read, or declares something else.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CliError.from_os_error(error, "read the definitions") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first_line = str(error).partition("\n")[0]
        raise CliError(f"{path} is neither YAML nor JSON: {first_line}.", ExitCode.USAGE) from error
    if not isinstance(content, dict) or not content.keys() <= _FIELDS.keys():
        raise CliError(f"{path} must hold {' and '.join(_FIELDS)}, nothing else.", ExitCode.USAGE)
    return _to_request(path, content)


def _to_request(path: Path, content: Mapping[str, Any]) -> "ApplyFeatureDefinitionsRequest":
    from google.protobuf.json_format import ParseDict, ParseError
    from mltrainer.feature.v1.feature_service_pb2 import ApplyFeatureDefinitionsRequest

    try:
        _check_fields(path, content)
        views = [
            {**view, "features": [_nested(feature) for feature in view.get("features") or ()]}
            for view in content.get("on_demand_views") or ()
        ]
        services = content.get("feature_services") or []
        return ParseDict(
            {"on_demand_views": views, "feature_services": services}, ApplyFeatureDefinitionsRequest()
        )
    except (ParseError, TypeError, AttributeError, ValueError) as error:
        raise CliError(f"{path}: {str(error).partition(chr(10))[0]}.", ExitCode.USAGE) from error


def _check_fields(path: Path, content: Mapping[str, Any]) -> None:
    """Refuses fields that are the server's to say, such as a version."""
    for kind, fields in _FIELDS.items():
        for declared in content.get(kind) or ():
            if unknown := sorted(declared.keys() - fields):
                known = ", ".join(sorted(fields))
                raise CliError(f"{path}: {kind} take {known}, and no {unknown[0]}.", ExitCode.USAGE)


def _nested(feature: Mapping[str, Any]) -> dict[str, Any]:
    """Puts what describes a feature where the contract has it; in a file it stands beside the formula."""
    described = {name: value for name, value in feature.items() if name in _FEATURE}
    return {"feature": described} | {name: value for name, value in feature.items() if name not in _FEATURE}


def plan_lines(answer: Mapping[str, Any]) -> list[str]:
    """Writes what changes: a line for each definition, and for each part that enters or leaves."""
    lines = []
    for change in answer["changes"]:
        lines.append(f"{_SIGNS[change['action']]} {change['name']} (version {change['version']})")
        lines += [f"    {difference}" for difference in change["differences"]]
    return lines


def summary(answer: Mapping[str, Any]) -> str:
    """Counts what changes, in one sentence."""
    actions = [change["action"] for change in answer["changes"]]
    counts = [
        f"{actions.count(action)} {word}"
        for action, word in (("CREATE", "new"), ("UPDATE", "changed"), ("REMOVE", "removed"))
        if action in actions
    ]
    return ", ".join(counts)
