"""Fills in the configuration and the secrets of an experiment, which are texts or offered variables."""

import re
from collections.abc import Mapping
from typing import Any

from mltrainer_chaos.domain.errors import MalformedError

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_.-]*)\}")


class UnknownVariableError(Exception):
    """A `${name}` that neither configuration nor secrets define."""


def read_configuration(raw: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Returns the value of each entry.

    Raises:
        MalformedError: An entry refers to a variable that is not offered, or is of an unknown kind.
    """
    return {name: _read(name, entry, environment) for name, entry in raw.items()}


def read_secrets(raw: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Returns every secret by its own name; experiments are stored and shown, so none may stand in them.

    Raises:
        MalformedError: A secret is written out, or refers to a variable that is not offered.
    """
    secrets: dict[str, Any] = {}
    for scope, entries in raw.items():
        if not isinstance(entries, Mapping):
            raise MalformedError(f"{scope!r} must be an object of secrets")
        for name, entry in entries.items():
            if not isinstance(entry, Mapping):
                raise MalformedError(f"'{scope}.{name}' is written out; use {{'type': 'env', 'key': …}}")
            undefaulted = {key: item for key, item in entry.items() if key != "default"}
            secrets[name] = _read(f"{scope}.{name}", undefaulted, environment)
    return secrets


def _read(name: str, entry: Any, environment: Mapping[str, str]) -> Any:
    if not isinstance(entry, Mapping) or "type" not in entry:
        return entry
    if entry["type"] != "env":
        raise MalformedError(f"{name!r} has type {entry['type']!r}; known is 'env'")
    key = str(entry.get("key"))
    value = environment.get(key, entry.get("default"))
    if value is None:
        raise MalformedError(
            f"{name!r} needs the variable {key}, which is not offered: add a 'default', or add it to "
            "MLTRAINER_CHAOS_OFFERED_VARIABLES"
        )
    return value


def substitute(value: Any, variables: Mapping[str, Any]) -> Any:
    """Replaces `${name}` everywhere in a value; a text that is nothing but one reference keeps the type.

    Raises:
        UnknownVariableError: Nothing of that name is defined.
    """
    match value:
        case str():
            return _substitute_text(value, variables)
        case list():
            return [substitute(item, variables) for item in value]
        case Mapping():
            return {key: substitute(item, variables) for key, item in value.items()}
    return value


def _substitute_text(text: str, variables: Mapping[str, Any]) -> Any:
    for name in _REFERENCE.findall(text):
        if name not in variables:
            raise UnknownVariableError(name)
    if whole := _REFERENCE.fullmatch(text):
        return variables[whole[1]]
    return _REFERENCE.sub(lambda found: str(variables[found[1]]), text)
