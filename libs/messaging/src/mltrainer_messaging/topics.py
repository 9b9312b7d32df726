"""Derives topics from event contracts: name, partitions, compaction and record key."""

import re
from dataclasses import dataclass
from functools import cache

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from mltrainer.options.v1 import options_pb2

DEFAULT_PARTITIONS = 6
DEAD_LETTER_SUFFIX = ".dead-letter"
_FULL_NAME = re.compile(r"mltrainer\.(?P<slug>[a-z0-9_]+)\.(?P<version>v\d+)\.(?P<event>[A-Z][A-Za-z0-9]*)")
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class NotAnEventError(TypeError):
    """The message type carries no `(mltrainer.options.v1.topic)` option or is not named like an event."""


@dataclass(frozen=True, slots=True)
class Topic:
    """Describes the topic of one event type."""

    name: str
    key_field: str
    partitions: int
    compacted: bool

    @property
    def dead_letter(self) -> str:
        """Returns the name of the topic for events that could not be handled."""
        return self.name + DEAD_LETTER_SUFFIX


def topic_name(full_name: str) -> str:
    """Turns `mltrainer.scheduler.v1.TrainingQueued` into `mltrainer.scheduler.training-queued.v1`."""
    match = _FULL_NAME.fullmatch(full_name)
    if match is None:
        raise NotAnEventError(f"{full_name} is not named mltrainer.<slug>.v<n>.<Event>")
    event = _WORD_START.sub("-", match["event"]).lower()
    return f"mltrainer.{match['slug'].replace('_', '-')}.{event}.{match['version']}"


def topic_of(message: type[Message] | Message) -> Topic:
    """Describes the topic of an event type.

    Raises:
        NotAnEventError: The type is not an event.
    """
    return _topic(message.DESCRIPTOR)


def record_key(message: Message) -> str:
    """Returns the record key of an event: the value of the field its topic option names."""
    return str(getattr(message, topic_of(message).key_field))


@cache
def _topic(descriptor: Descriptor) -> Topic:
    options = descriptor.GetOptions()
    if not options.HasExtension(options_pb2.topic):
        raise NotAnEventError(f"{descriptor.full_name} has no (mltrainer.options.v1.topic) option")
    topic = options.Extensions[options_pb2.topic]
    if topic.key not in descriptor.fields_by_name:
        raise NotAnEventError(
            f"{descriptor.full_name} has no field {topic.key!r}, which its topic option names as key"
        )
    return Topic(
        topic_name(descriptor.full_name), topic.key, topic.partitions or DEFAULT_PARTITIONS, topic.compacted
    )
