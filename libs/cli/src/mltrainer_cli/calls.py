"""Asks services and turns their answers into JSON objects: what the commands of one service are made of."""

import asyncio
import getpass
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mltrainer_cli.data_directory import DataDirectory

if TYPE_CHECKING:
    from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
    from google.protobuf.message import Message
    from mltrainer_sdk import Client

T = TypeVar("T")

_LARGEST_PAGE = 1_000


def call(data: DataDirectory, ask: Callable[["Client"], Awaitable[T]]) -> T:
    """Asks as this user, who may operate the stack of the data directory."""

    async def run() -> T:
        from mltrainer_common.authorization import Role
        from mltrainer_sdk import Client

        subject = f"users/{getpass.getuser()}"
        roles = [Role.OPERATOR, Role.PRODUCER]
        async with Client.connect(data.path, subject=subject, roles=roles) as client:
            return await ask(client)

    return asyncio.run(run())


async def all_pages(
    fetch: Callable[[int, str], Awaitable[tuple[Sequence[T], str]]], limit: int = _LARGEST_PAGE
) -> list[T]:
    """Reads pages until there are no more, or enough; `fetch` takes size and token of a page."""
    found: list[T] = []
    token = ""
    while True:
        page, token = await fetch(min(limit - len(found), _LARGEST_PAGE), token)
        found.extend(page)
        if not token or len(found) >= limit:
            return found


def full_name(collection: str, text: str) -> str:
    """Completes an id to a resource name; a name stays as it is."""
    return text if text.startswith(f"{collection}/") else f"{collection}/{text}"


def to_json(message: "Message") -> dict[str, Any]:
    """Returns a message as a JSON object: its field names, plain numbers, enum values without prefix."""
    from google.protobuf.json_format import MessageToDict

    fields = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return _tidy(fields, message.DESCRIPTOR)


def short(name: str) -> str:
    """Returns the id of a resource name, as tables show it; commands take both."""
    return name.rpartition("/")[2]


def to_second(time: str | None) -> str | None:
    """Shortens a time of a JSON object to the second, for tables."""
    return f"{time.partition('.')[0].removesuffix('Z')}Z" if time else None


def usd(micros: int) -> str:
    """Writes millionths of a USD exactly."""
    whole, rest = divmod(abs(micros), 1_000_000)
    return f"{'-' if micros < 0 else ''}{whole}.{rest:06d}"


def _tidy(fields: dict[str, Any], descriptor: Any) -> dict[str, Any]:
    by_name = descriptor.fields_by_name
    return {name: _tidy_field(value, by_name[name]) for name, value in fields.items()}


def _tidy_field(value: Any, field: "FieldDescriptor") -> Any:
    if isinstance(value, list):
        return [_tidy_value(item, field) for item in value]
    return _tidy_value(value, field)


def _tidy_value(value: Any, field: "FieldDescriptor") -> Any:
    nested = field.message_type
    if isinstance(value, dict) and nested is not None and not nested.GetOptions().map_entry:
        return _tidy(value, nested)
    if field.enum_type is not None:
        return str(value).removeprefix(_prefix(field.enum_type))
    if field.cpp_type in {field.CPPTYPE_INT64, field.CPPTYPE_UINT64}:
        return int(value)
    if field.cpp_type in {field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT} and isinstance(value, str):
        return None  # JSON has no infinity: protobuf writes a text
    return value


def _prefix(enum: "EnumDescriptor") -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper() + "_"
