"""What the registry refuses, with the facts of each refusal."""

from dataclasses import dataclass
from datetime import datetime


class RegistryError(Exception):
    """Something the registry refuses."""


@dataclass(eq=False)
class InvalidFieldError(RegistryError):
    """A field of a request is malformed; `description` says what would be right."""

    field: str
    description: str


@dataclass(eq=False)
class ModelNotFoundError(RegistryError):
    """No version of this model was ever created."""

    name: str


@dataclass(eq=False)
class VersionNotFoundError(RegistryError):
    """The model has no version of this number."""

    name: str


@dataclass(eq=False)
class AliasNotFoundError(RegistryError):
    """The alias points nowhere, or did not yet at the time asked for."""

    name: str
    as_of_time: datetime | None = None


@dataclass(eq=False)
class FileNotInManifestError(RegistryError):
    """The version has no file of this path."""

    version: str
    path: str


@dataclass(eq=False)
class StaleEtagError(RegistryError):
    """The resource has changed since the caller read it."""

    name: str
    etag: str


@dataclass(eq=False)
class AliasMovedError(RegistryError):
    """The alias does not point where the caller believes; `present` is empty while it points nowhere."""

    name: str
    expected: str
    present: str


@dataclass(eq=False)
class GateNotPassedError(RegistryError):
    """The version does not meet the conditions of the alias."""

    alias: str
    version: str
    failed_conditions: tuple[str, ...]
    detail: str


@dataclass(eq=False)
class VersionArchivedError(RegistryError):
    """The version is out of service for good."""

    name: str


@dataclass(eq=False)
class VersionHasAliasError(RegistryError):
    """An alias points to the version, so it cannot be archived."""

    name: str
    aliases: tuple[str, ...]


@dataclass(eq=False)
class NoEarlierVersionError(RegistryError):
    """The alias has pointed to one version only."""

    name: str


@dataclass(eq=False)
class RequestIdReusedError(RegistryError):
    """The request id has already answered another request."""

    request_id: str


@dataclass(eq=False)
class StaleFencingTokenError(RegistryError):
    """A later attempt of the training holds the right to deliver, or this one has failed."""

    training: str
    fencing_token: int
    lowest_accepted: int


@dataclass(eq=False)
class ArtifactDigestMismatchError(RegistryError):
    """Bytes, or a list of files, do not have the digest they were announced with."""

    subject: str
    expected: str


@dataclass(eq=False)
class InvalidArtifactPathError(RegistryError):
    """A path may not be used in a manifest."""

    path: str
    why: str


@dataclass(eq=False)
class ArtifactTooLargeError(RegistryError):
    """An upload exceeds what one version may hold."""

    size_bytes: int
    limit_bytes: int


@dataclass(eq=False)
class FileTooLargeError(RegistryError):
    """A file exceeds what one file may hold."""

    path: str
    size_bytes: int
    limit_bytes: int


@dataclass(eq=False)
class ModelQuotaExceededError(RegistryError):
    """The distinct contents of a model, or of uploads that name none, would exceed what it may hold."""

    model: str
    used_bytes: int
    added_bytes: int
    limit_bytes: int


@dataclass(eq=False)
class UploadIncompleteError(RegistryError):
    """Parts of a file were neither sent nor stored before."""

    path: str
    first_missing_part: int
    missing_count: int


@dataclass(eq=False)
class UploadExpiredError(RegistryError):
    """Files of an upload were given up before it was complete."""

    training: str
    manifest_digest: str


@dataclass(eq=False)
class OffsetOutOfRangeError(RegistryError):
    """A download shall begin behind the end of the file."""

    path: str
    offset_bytes: int
    size_bytes: int


@dataclass(eq=False)
class InvalidUploadError(RegistryError):
    """The parts of an upload do not follow the contract."""

    detail: str


@dataclass(eq=False)
class ArtifactAlteredError(RegistryError):
    """The content store has lost or altered bytes of a version."""

    sha256: str


@dataclass(eq=False)
class ManifestNotUploadedError(RegistryError):
    """An attempt reports a manifest that it has not uploaded."""

    training: str
    manifest_digest: str


@dataclass(eq=False)
class TrainingHasVersionError(RegistryError):
    """The training has made a version of another model or of other files."""

    training: str
    version: str


@dataclass(eq=False)
class PolicyNotFoundError(RegistryError):
    """No policy was ever set under this name, nor one that would hold for it."""

    name: str


@dataclass(eq=False)
class PromotionNotFoundError(RegistryError):
    """Nobody has asked for it."""

    name: str


@dataclass(eq=False)
class PromotionDecidedError(RegistryError):
    """The promotion was decided otherwise."""

    name: str
    state: str


@dataclass(eq=False)
class OwnPromotionError(RegistryError):
    """Nobody may approve what they have asked for or trained themselves."""

    name: str
    approver: str


@dataclass(eq=False)
class InvalidFilterError(RegistryError):
    """A filter does not follow the grammar; `position` counts characters from 1."""

    position: int
    description: str


@dataclass(eq=False)
class RevisionNotReachedError(RegistryError):
    """This replica does not know the revision that a read asks for, and the caller waits no longer."""

    min_revision: int
    revision: int


@dataclass(eq=False)
class RevisionPrunedError(RegistryError):
    """Changes after this revision were forgotten; a watch from the beginning shows the present state."""

    revision: int
    pruned_revision: int


@dataclass(eq=False)
class WatcherTooSlowError(RegistryError):
    """A watcher has fallen behind the buffer; it may resume from the revision it has seen."""

    seen_revision: int


@dataclass(eq=False)
class TooManyWatchersError(RegistryError):
    """This process follows no more watchers."""

    limit: int
