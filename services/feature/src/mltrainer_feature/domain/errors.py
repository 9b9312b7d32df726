"""What the feature service refuses, as facts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


class FeatureServiceError(Exception):
    """The root of every error of this service."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One wrong field of a request, by path."""

    field: str
    description: str


class InvalidRequestError(FeatureServiceError):
    """A request is malformed."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{item.field}: {item.description}" for item in self.violations))


class InvalidDatasetSpecError(InvalidRequestError):
    """A dataset specification cannot be fulfilled by anybody."""


class InvalidDefinitionsError(InvalidRequestError):
    """Declared views or services cannot be what they are declared to be."""


class UnknownFeatureViewError(FeatureServiceError):
    """A dataset asks for a view, or a version of it, that is not defined."""

    def __init__(self, reference: str, known: Sequence[str]) -> None:
        self.reference = reference
        self.known = tuple(known)
        super().__init__(f"{reference} is not defined; known: {', '.join(known)}")


class FeatureViewRemovedError(FeatureServiceError):
    """A request names a view that was there, and was removed."""

    def __init__(self, view: str) -> None:
        self.view = view
        super().__init__(f"the feature view {view} was removed: read another, or have it defined again")


class FeatureListRemovedError(FeatureServiceError):
    """A request names a feature service that was there; `views` are those it read that were removed."""

    def __init__(self, name: str, views: Sequence[str]) -> None:
        self.name = name
        self.views = tuple(views)
        cause = f" with the feature views {', '.join(views)}" if views else ""
        super().__init__(f"the feature service {name} was removed{cause}")


class DefinitionsChangedError(FeatureServiceError):
    """Definitions are no longer what the caller has seen."""

    def __init__(self, etag: str) -> None:
        self.etag = etag
        super().__init__("the definitions have changed since: look at what would change now")


class UnknownSymbolError(FeatureServiceError):
    """No bar of a symbol is known."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self.symbols = tuple(symbols)
        super().__init__(f"no bars of {', '.join(symbols)}")


class AsOfInFutureError(FeatureServiceError):
    """Knowledge is asked for that nobody can have yet."""

    def __init__(self, as_of: datetime, now: datetime) -> None:
        self.as_of = as_of
        self.now = now
        super().__init__(f"as_of {as_of.isoformat()} lies after the market's {now.isoformat()}")


class ResourceNotFoundError(FeatureServiceError):
    """No dataset, view or import has that name."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name
        super().__init__(f"{kind} {name} does not exist")


class BytesNotFoundError(FeatureServiceError):
    """The artifact store has nothing under a digest."""

    def __init__(self, sha256: str) -> None:
        self.sha256 = sha256
        super().__init__(f"the artifact store has nothing under {sha256}")


class UnknownFeatureError(FeatureServiceError):
    """An online read names a feature that no view has."""

    def __init__(self, reference: str) -> None:
        self.reference = reference
        super().__init__(f"feature {reference} is not defined")


class UnknownFeatureServiceError(FeatureServiceError):
    """An online read names a feature service that is not defined."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = tuple(known)
        super().__init__(f"feature service {name} is not defined; known: {', '.join(known)}")


class UnreadableBarsError(FeatureServiceError):
    """A file of bars cannot be read at all."""


class UnknownEntityError(FeatureServiceError):
    """An online read gives values for an entity that no view has."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = tuple(known)
        super().__init__(f"entity {name} is not defined; known: {', '.join(known)}")


class UnreadableRegistryError(FeatureServiceError):
    """A registry cannot be served."""


class OnlineStoreError(FeatureServiceError):
    """The online store cannot answer now."""


class OnlineStoreUnavailableError(OnlineStoreError):
    """The online store cannot be reached."""


class OnlineStoreLostError(OnlineStoreError):
    """The online store has lost its content, or never had any: nothing read from it means anything."""

    def __init__(self, project: str) -> None:
        self.project = project
        super().__init__(
            f"the online store has no content of project {project}: it is being filled, or must be"
        )


class ReferencesUnknownError(FeatureServiceError):
    """A service that refers to datasets does not say to which."""

    def __init__(self, service: str) -> None:
        self.service = service
        super().__init__(f"{service} does not say which datasets it refers to: none was removed")
