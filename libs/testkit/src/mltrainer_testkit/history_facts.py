"""Says what a history is and what can be wrong with it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeVar

from google.protobuf.message import Message
from mltrainer.registry.v1.resources_pb2 import Alias, ModelVersion
from mltrainer.scheduler.v1.resources_pb2 import Allocation, Training
from mltrainer_messaging.envelope import Event

M = TypeVar("M", bound=Message)


class Fault(StrEnum):
    """Kinds of broken promises."""

    UNASKED = "UNASKED"
    """A training of a request that nobody sent, or an event of a training that nobody knows."""
    NO_OUTCOME = "NO_OUTCOME"
    SECOND_OUTCOME = "SECOND_OUTCOME"
    OUTCOMES_DISAGREE = "OUTCOMES_DISAGREE"
    """Event and final state, or a result and what it was taken from, tell different stories."""
    AFTER_THE_END = "AFTER_THE_END"
    ID_REUSED = "ID_REUSED"
    OUT_OF_ORDER = "OUT_OF_ORDER"
    TOKEN_NOT_GREATER = "TOKEN_NOT_GREATER"
    ALLOCATIONS_OVERLAP = "ALLOCATIONS_OVERLAP"
    ALLOCATION_NOT_ENDED = "ALLOCATION_NOT_ENDED"
    ALLOCATION_ENDED_TWICE = "ALLOCATION_ENDED_TWICE"
    UNKNOWN_ALLOCATION = "UNKNOWN_ALLOCATION"
    ATTEMPT_NOT_ENDED = "ATTEMPT_NOT_ENDED"
    ATTEMPT_ENDED_TWICE = "ATTEMPT_ENDED_TWICE"
    LOST_VERSION = "LOST_VERSION"
    SECOND_VERSION = "SECOND_VERSION"
    UNEARNED_VERSION = "UNEARNED_VERSION"
    """A version of a training that has not completed, or with other files than it completed with."""
    VERSION_GAP = "VERSION_GAP"
    VERSION_NOT_TOLD = "VERSION_NOT_TOLD"
    ARTIFACT_UNREADABLE = "ARTIFACT_UNREADABLE"
    ALIAS_HISTORY_BROKEN = "ALIAS_HISTORY_BROKEN"
    DEAD_LETTER = "DEAD_LETTER"


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken promise: of which kind, of whom, and the evidence in one sentence."""

    fault: Fault
    subject: str
    detail: str


Findings = Iterator[Finding]


@dataclass(frozen=True)
class History:
    """Everything that was seen from outside.

    Attributes:
        requests: Ids of the requests that were sent; one that was perhaps not stored counts as sent.
        events: All events of all topics of scheduler, trainer and registry, copies included, in the order of
            their partitions.
        trainings: Every training as the scheduler tells it at the end.
        allocations: Allocations that live at the end.
        versions: Every version as the registry tells it at the end.
        aliases: Every alias at the end.
        readable_digests: Digests of the artifact files that could be read and have that digest.
        dead_letters: One sentence for each.
    """

    requests: frozenset[str]
    events: Sequence[Event[Message]] = ()
    trainings: Sequence[Training] = ()
    allocations: Sequence[Allocation] = ()
    versions: Sequence[ModelVersion] = ()
    aliases: Sequence[Alias] = ()
    readable_digests: frozenset[str] = field(default_factory=frozenset)
    dead_letters: Sequence[str] = ()

    @cached_property
    def first_copies(self) -> list[Event[Message]]:
        """Events without their redelivered copies, partition by partition."""
        ordered = sorted(self.events, key=lambda event: (event.topic, event.partition, event.offset))
        first: dict[str, Event[Message]] = {}
        for event in ordered:
            first.setdefault(event.id, event)
        return list(first.values())

    @cached_property
    def trainings_by_name(self) -> dict[str, Training]:
        return {training.name: training for training in self.trainings}

    def of_type(self, *types: type[M]) -> list[M]:
        """Returns the events of some types, each once."""
        return [event.message for event in self.first_copies if isinstance(event.message, types)]


def by_training(messages: Sequence[M]) -> dict[str, list[M]]:
    """Groups events by the training they tell of, in the order of their revisions."""
    groups: dict[str, list[M]] = {}
    ordered: list[Any] = sorted(messages, key=lambda message: getattr(message, "revision"))  # noqa: B009 - the field is not on every message
    for message in ordered:
        groups.setdefault(message.training, []).append(message)
    return groups
