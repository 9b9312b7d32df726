"""Writes the reference documents from the contracts: an AsyncAPI document of all topics and a gRPC reference.

`--check` writes nothing and exits with 1 where a committed document differs.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from google.protobuf.message_factory import GetMessageClass
from mltrainer_messaging.topics import topic_of

ROOT = Path(__file__).resolve().parent.parent
ASYNCAPI = ROOT / "docs/reference/asyncapi.yaml"
GRPC = ROOT / "docs/reference/grpc.md"
_TYPES = {
    FieldDescriptorProto.TYPE_DOUBLE: "double",
    FieldDescriptorProto.TYPE_FLOAT: "float",
    FieldDescriptorProto.TYPE_INT64: "int64",
    FieldDescriptorProto.TYPE_UINT64: "uint64",
    FieldDescriptorProto.TYPE_INT32: "int32",
    FieldDescriptorProto.TYPE_BOOL: "bool",
    FieldDescriptorProto.TYPE_STRING: "string",
    FieldDescriptorProto.TYPE_BYTES: "bytes",
}
_JSON_TYPES = {"bool": "boolean", "string": "string", "bytes": "string", "int32": "integer"}


class Comments:
    """The leading comments of one file, by the path of what they stand before."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._by_path = {
            tuple(location.path): " ".join(location.leading_comments.split())
            for location in file.source_code_info.location
            if location.leading_comments
        }

    def at(self, *path: int) -> str:
        """Returns the comment, or nothing."""
        return self._by_path.get(path, "")


def load_contracts() -> list[FileDescriptorProto]:
    """Compiles the contracts with their comments; own packages only."""
    files = sorted(
        str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto/mltrainer").rglob("*.proto")
    )
    with tempfile.TemporaryDirectory() as scratch:
        image = Path(scratch) / "image.binpb"
        command = [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            "-I",
            str(ROOT / "proto"),
            "--include_source_info",
        ]
        subprocess.run([*command, f"--descriptor_set_out={image}", *files], check=True)
        return list(FileDescriptorSet.FromString(image.read_bytes()).file)


def type_name(field: FieldDescriptorProto) -> str:
    """Spells a field's type as in the contract."""
    name = field.type_name.removeprefix(".") or _TYPES[field.type]
    is_repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
    return f"repeated {name}" if is_repeated else name


def fields_of(message: DescriptorProto, comments: Comments, *path: int) -> Iterator[tuple[str, str, str]]:
    """Yields name, type and comment of each field."""
    for index, field in enumerate(message.field):
        yield field.name, type_name(field), comments.at(*path, 2, index)


def grpc_reference(files: list[FileDescriptorProto]) -> str:
    """Renders every service with its methods, and every message and enum."""
    lines = [
        "# gRPC reference",
        "",
        "Generated from the contracts in `proto/mltrainer` by `make docs`; do not edit. Contracts of others,",
        "served unchanged: `feast.serving.ServingService` (feature), `inference.GRPCInferenceService`",
        "(serving), `flagd.evaluation.v1` and `v2` (experiment).",
    ]
    for file in files:
        comments = Comments(file)
        for index, service in enumerate(file.service):
            lines += ["", f"## {file.package}.{service.name}", "", comments.at(6, index), ""]
            lines += ["| method | request | answer | |", "|---|---|---|---|"]
            for number, method in enumerate(service.method):
                request, answer = (_short(name) for name in (method.input_type, method.output_type))
                request = f"stream {request}" if method.client_streaming else request
                answer = f"stream {answer}" if method.server_streaming else answer
                lines.append(
                    f"| `{method.name}` | {request} | {answer} | {comments.at(6, index, 2, number)} |"
                )
    lines += ["", "# Messages"]
    for file in files:
        comments = Comments(file)
        for index, message in enumerate(file.message_type):
            lines += ["", f"## {file.package}.{message.name}", "", comments.at(4, index)]
            lines += _message_lines(message, comments, 4, index)
        for index, enum in enumerate(file.enum_type):
            lines += ["", f"## {file.package}.{enum.name}", "", comments.at(5, index)]
            lines += _enum_lines(enum, comments, 5, index)
    return "\n".join(lines) + "\n"


def _message_lines(message: DescriptorProto, comments: Comments, *path: int) -> list[str]:
    lines = []
    rows = list(fields_of(message, comments, *path))
    if rows:
        lines += ["", "| field | type | |", "|---|---|---|"]
        lines += [f"| `{name}` | {_short(kind)} | {comment} |" for name, kind, comment in rows]
    for index, enum in enumerate(message.enum_type):
        lines += ["", f"`{message.name}.{enum.name}`: {comments.at(*path, 4, index)}"]
        lines += _enum_lines(enum, comments, *path, 4, index)
    return lines


def _enum_lines(enum: Any, comments: Comments, *path: int) -> list[str]:
    rows = [
        f"| `{value.name}` | {value.number} | {comments.at(*path, 2, index)} |"
        for index, value in enumerate(enum.value)
    ]
    return ["", "| value | number | |", "|---|---|---|", *rows]


def _short(name: str) -> str:
    return name.removeprefix(".").replace("google.protobuf.", "")


def asyncapi(files: list[FileDescriptorProto]) -> str:
    """Renders every event with its topic, key, headers, producers and consumers."""
    channels: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for file, message, comments, index in _messages(files):
        full_name = f"{file.package}.{message.name}"
        descriptor = _descriptor(file, full_name)
        options = _topic_options(descriptor)
        if options is None:
            continue
        topic = topic_of(GetMessageClass(descriptor))
        key = full_name.removeprefix("mltrainer.")
        messages[key] = _asyncapi_message(full_name, message, comments, index)
        channels[key] = {
            "address": topic.name,
            "description": _travel(options),
            "messages": {message.name: {"$ref": f"#/components/messages/{key}"}},
            "bindings": {
                "kafka": {
                    "partitions": topic.partitions,
                    "x-compacted": options.compacted,
                    "x-key": options.key,
                }
            },
        }
        operations[key] = {"action": "send", "channel": {"$ref": f"#/channels/{key}"}}
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "mltrainer events",
            "version": "1.0.0",
            "description": "Generated from the contracts by `make docs`; do not edit. Protobuf bodies in the "
            "CloudEvents Kafka binary binding. What cannot be handled goes to `<topic>.dead-letter`.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/protobuf",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }
    return yaml.safe_dump(document, sort_keys=False, width=110, allow_unicode=True)


def _travel(options: Any) -> str:
    consumers = ", ".join(options.consumers) or "none of the services"
    return f"Producers: {', '.join(options.producers)}. Consumers: {consumers}."


def _kafka_binding(partitions: int, options: Any) -> dict[str, Any]:
    return {"partitions": partitions, "x-compacted": options.compacted, "x-key": options.key}


def _asyncapi_message(
    full_name: str, message: DescriptorProto, comments: Comments, index: int
) -> dict[str, Any]:
    properties = {
        name: {"description": comment, "x-protobuf-type": kind, "type": _json_type(kind)}
        for name, kind, comment in fields_of(message, comments, 4, index)
    }
    headers = {
        name: {"type": "string"}
        for name in ("ce_id", "ce_source", "ce_time", "ce_specversion", "traceparent")
    }
    headers["ce_type"] = {"type": "string", "const": full_name}
    return {
        "name": full_name,
        "summary": comments.at(4, index),
        "headers": {"type": "object", "properties": headers},
        "payload": {"type": "object", "properties": properties},
    }


def _json_type(kind: str) -> str:
    if kind.startswith("repeated "):
        return "array"
    if kind.startswith(("mltrainer.", "google.")):
        return "object"
    return _JSON_TYPES.get(kind, "number")


def _messages(
    files: list[FileDescriptorProto],
) -> Iterator[tuple[FileDescriptorProto, DescriptorProto, Comments, int]]:
    for file in files:
        comments = Comments(file)
        for index, message in enumerate(file.message_type):
            yield file, message, comments, index


def _descriptor(file: FileDescriptorProto, full_name: str) -> Any:
    __import__(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")
    return descriptor_pool.Default().FindMessageTypeByName(full_name)


def _topic_options(descriptor: Any) -> Any:
    from mltrainer.options.v1 import options_pb2

    options = descriptor.GetOptions()
    return options.Extensions[options_pb2.topic] if options.HasExtension(options_pb2.topic) else None


def main() -> int:
    """Writes or checks both documents."""
    files = load_contracts()
    is_check = "--check" in sys.argv[1:]
    different = []
    for path, text in ((ASYNCAPI, asyncapi(files)), (GRPC, grpc_reference(files))):
        if not is_check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            different.append(path.relative_to(ROOT))
    for path in different:
        print(
            f"{path} differs from the contracts: execute 'make docs' and commit the result", file=sys.stderr
        )
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
