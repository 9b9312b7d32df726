"""Reads evaluation contexts and writes flag changes of the OpenFeature contracts."""

from google.protobuf.struct_pb2 import Struct

TARGETING_KEY = "targetingKey"
PROVIDER_READY = "provider_ready"
CONFIGURATION_CHANGE = "configuration_change"


def targeting_key(context: Struct) -> str:
    """Returns the unit that a context names, or an empty text."""
    value = context.fields.get(TARGETING_KEY)
    return value.string_value if value is not None else ""


def stream_event(changed_keys: list[str]) -> tuple[str, Struct | None]:
    """Returns type and data of an event: the provider is ready, or these flags have changed."""
    if not changed_keys:
        return PROVIDER_READY, None
    data = Struct()
    data.update({"flags": {key: {"type": "update"} for key in changed_keys}})
    return CONFIGURATION_CHANGE, data
