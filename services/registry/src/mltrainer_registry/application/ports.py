"""What the use cases of the registry need from the outside."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mltrainer_registry.application.gate_ports import EvaluationSource, PolicyRepository, PromotionRepository
from mltrainer_registry.application.paging import Page
from mltrainer_registry.domain.aliases import Alias, AliasMove
from mltrainer_registry.domain.changes import Change, LoggedChange
from mltrainer_registry.domain.gates import GateEvaluation
from mltrainer_registry.domain.manifests import ArtifactFile, Manifest
from mltrainer_registry.domain.names import AliasName, VersionName
from mltrainer_registry.domain.uploads import HeldPart
from mltrainer_registry.domain.versions import Model, ModelVersion


class Clock(Protocol):
    """Tells an aware UTC time."""

    def now(self) -> datetime:
        """Returns the current time."""
        ...


class Inbox(Protocol):
    """Lets an event take effect once."""

    async def claim(self, event_id: str) -> bool:
        """Tells whether the event is new, and remembers it."""
        ...

    async def claim_all(self, event_ids: Sequence[str]) -> set[str]:
        """Returns which of the events are new, and remembers all of them."""
        ...


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """What a request id was answered with; `fingerprint` says what was asked."""

    request_id: str
    fingerprint: str
    answer: Alias


class ModelRepository(Protocol):
    """Reads models inside the transaction, and remembers what was answered."""

    async def version_count(self, model: str) -> int:
        """Returns the number of the newest version, 0 for a new model."""
        ...

    async def model(self, model: str) -> Model | None:
        """Returns a model."""
        ...

    async def version(self, name: VersionName) -> ModelVersion | None:
        """Returns a version."""
        ...

    async def version_of_training(self, training: str) -> VersionName | None:
        """Names the version that a training made."""
        ...

    async def alias(self, name: AliasName) -> Alias | None:
        """Returns where an alias points."""
        ...

    async def aliases_of(self, name: VersionName) -> tuple[str, ...]:
        """Names the aliases that point to a version."""
        ...

    async def last_move(self, name: AliasName) -> AliasMove | None:
        """Returns the newest entry of an alias's history."""
        ...

    async def answered(self, request_id: str) -> AnsweredRequest | None:
        """Returns what a request id was answered with."""
        ...

    async def remember(self, request: AnsweredRequest) -> None:
        """Keeps an answer for the same request id."""
        ...


class TrainingRepository(Protocol):
    """Remembers which attempts may deliver and what was uploaded."""

    async def lowest_token(self, training: str) -> int:
        """Returns the lowest fencing token that is still accepted."""
        ...

    async def refuse_below(self, training: str, fencing_token: int) -> None:
        """Refuses lower tokens from now on; never goes back."""
        ...

    async def manifest(self, training: str, digest: str) -> Manifest | None:
        """Returns a manifest that the training has uploaded."""
        ...


@dataclass(frozen=True, slots=True)
class UploadClaim:
    """Says that a training is about to store files, for a model whose quota they count towards, if any."""

    training: str
    manifest: Manifest
    model: str
    time: datetime


@dataclass(frozen=True, slots=True)
class ExpiredUploads:
    """What giving up uploads has come to.

    Attributes:
        seen_count: Uploads that were looked at; none are left where it is 0.
        upload_count: Uploads that were given up.
        freed: Digests that nothing claims any more.
    """

    seen_count: int
    upload_count: int
    freed: frozenset[str]


class UploadRepository(Protocol):
    """Remembers which content is spoken for."""

    async def claim(self, claim: UploadClaim) -> None:
        """Claims the files of an upload, or renews the claim."""
        ...

    async def complete(self, training: str, digest: str) -> None:
        """Lets a version be made of the upload."""
        ...

    async def usage(self, model: str, files: Sequence[ArtifactFile]) -> tuple[int, int]:
        """Returns the bytes that a model holds, and those that the files would add."""
        ...

    async def expire(self, before: datetime, limit: int) -> ExpiredUploads:
        """Gives up claims from before a time; those of versions last for good."""
        ...

    async def claimed(self, digests: Sequence[str]) -> frozenset[str]:
        """Returns those of the digests that are claimed."""
        ...


@dataclass(frozen=True, slots=True)
class DeliveryKey:
    """Names what must be known to decide a delivery."""

    training: str
    model: str
    manifest_digest: str


@dataclass(frozen=True, slots=True)
class DeliveryFacts:
    """What is known of some deliveries.

    Attributes:
        versions: The version of each training that has one.
        lowest_tokens: By training; one that is missing accepts any.
        manifests: Those uploaded, by training and digest.
        version_counts: By model; one that is missing has none.
    """

    versions: Mapping[str, VersionName]
    lowest_tokens: Mapping[str, int]
    manifests: Mapping[tuple[str, str], Manifest]
    version_counts: Mapping[str, int]


class DeliveryRepository(Protocol):
    """Reads and remembers what decides many deliveries at once."""

    async def facts(self, keys: Sequence[DeliveryKey]) -> DeliveryFacts:
        """Returns what decides the deliveries."""
        ...

    async def refuse_below(self, tokens: Mapping[str, int]) -> None:
        """Refuses lower tokens of trainings from now on; never goes back."""
        ...


class ChangeLog(Protocol):
    """Changes state, and only together with the log of changes and the events that tell about them."""

    async def next_revision(self) -> int:
        """Returns the revision that the next change takes; without gaps in commit order."""
        ...

    async def record(self, change: Change) -> None:
        """Applies a change to the state, appends it to the log and adds its event to the outbox."""
        ...

    async def prune(self, before_time: datetime, limit: int) -> int | None:
        """Forgets overtaken entries from before a time, within so many revisions.

        Returns how many were forgotten; None when there is nothing left to look at.
        """
        ...

    async def record_versions(self, created: Sequence[tuple[ModelVersion, Context]]) -> None:
        """Records the creation of versions, each with the trace of its context."""
        ...


class UnitOfWork(Protocol):
    """One write transaction; all writers of the registry take turns."""

    @property
    def inbox(self) -> Inbox: ...
    @property
    def models(self) -> ModelRepository: ...
    @property
    def trainings(self) -> TrainingRepository: ...
    @property
    def uploads(self) -> UploadRepository: ...
    @property
    def policies(self) -> PolicyRepository: ...
    @property
    def promotions(self) -> PromotionRepository: ...
    @property
    def evaluations(self) -> EvaluationSource: ...
    @property
    def deliveries(self) -> DeliveryRepository: ...
    @property
    def changes(self) -> ChangeLog: ...

    async def commit(self) -> None:
        """Commits; leaving without it rolls back."""
        ...


class UnitOfWorkFactory(Protocol):
    """Opens units of work."""

    def __call__(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Opens a unit of work; after a commit, this process reads what was written."""
        ...


class RegistryReader(Protocol):
    """Answers questions outside any write transaction.

    Cursors are opaque to callers; InvalidFieldError tells of one that this list did not make.
    """

    async def model(self, model: str) -> Model | None:
        """Returns a model."""
        ...

    async def version(self, name: VersionName) -> ModelVersion | None:
        """Returns a version."""
        ...

    async def alias_as_of(self, name: AliasName, as_of_time: datetime) -> Alias | None:
        """Returns where an alias pointed at a time."""
        ...

    async def alias_moves(self, name: AliasName, limit: int, cursor: str) -> Page[AliasMove]:
        """Lists the history of an alias, newest first."""
        ...

    async def gate_evaluations(self, name: VersionName, limit: int, cursor: str) -> Page[GateEvaluation]:
        """Lists the evaluations of a version, newest first."""
        ...

    async def lowest_token(self, training: str) -> int:
        """Returns the lowest fencing token that is still accepted."""
        ...

    async def is_uploaded(self, training: str, digest: str) -> bool:
        """Tells whether a training has uploaded a manifest."""
        ...

    async def claimed(self, digests: Sequence[str]) -> frozenset[str]:
        """Returns those of the digests that are claimed by a version or an upload."""
        ...


class ChangeReader(Protocol):
    """Reads the change log."""

    async def revision(self) -> int:
        """Returns the newest revision."""
        ...

    async def aliases(self) -> tuple[int, tuple[Alias, ...]]:
        """Returns all aliases and the revision at which they were read."""
        ...

    async def changes(self, after: int, limit: int) -> Sequence[LoggedChange]:
        """Returns the changes after a revision, oldest first.

        Raises:
            RevisionPrunedError: Some of them were forgotten.
        """
        ...

    async def present_state(self, after: int, up_to: int, limit: int) -> Sequence[LoggedChange]:
        """Returns, of the changes in a range, those not overtaken by a later one of the same resource."""
        ...


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One content of the store."""

    sha256: str
    size_bytes: int


class ArtifactStore(Protocol):
    """Keeps the bytes of files under their digests, and parts of files that are not complete."""

    async def receive(self, file: ArtifactFile, pieces: AsyncIterator[bytes]) -> None:
        """Stores a file whole or not at all.

        Raises:
            ArtifactDigestMismatchError: The bytes do not have the announced digest.
        """
        ...

    async def holds(self, file: ArtifactFile) -> bool:
        """Tells whether the file is stored with the announced size."""
        ...

    def read(self, file: ArtifactFile, offset_bytes: int = 0) -> AsyncGenerator[bytes, None]:
        """Yields the bytes of a file, and verifies them where they begin at 0.

        Raises:
            ArtifactAlteredError: What is stored is not what was uploaded.
        """
        ...

    async def parts(self, training: str, file: ArtifactFile) -> tuple[HeldPart, ...]:
        """Returns the stored parts of a file, by number."""
        ...

    async def keep_part(
        self, training: str, file: ArtifactFile, number: int, data: bytes, replaces: str
    ) -> str:
        """Stores a part durably, instead of the one with digest `replaces`, and returns its digest."""
        ...

    async def join_parts(self, training: str, file: ArtifactFile, digests: Sequence[str]) -> None:
        """Stores a file from its parts, which are gone afterwards.

        Raises:
            ArtifactDigestMismatchError: Together they do not have the announced digest.
        """
        ...

    def batches(self) -> AsyncGenerator[Sequence[StoredFile], None]:
        """Yields everything stored, some at a time."""
        ...

    async def stored_time(self, sha256: str) -> datetime | None:
        """Tells since when a content is stored; None where it is gone."""
        ...

    async def delete(self, sha256: str) -> None:
        """Removes a content."""
        ...

    async def drop_abandoned(self, before: datetime, *, dry_run: bool) -> int:
        """Removes parts and spools from before a time and returns how many there were."""
        ...
