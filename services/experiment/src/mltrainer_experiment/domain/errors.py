"""What the experiment service refuses, with the facts of each refusal."""

from dataclasses import dataclass


class ExperimentError(Exception):
    """Something the experiment service refuses."""


@dataclass(eq=False)
class InvalidFieldError(ExperimentError):
    """A field of a request or an event is malformed; `description` says what would be right."""

    field: str
    description: str


@dataclass(eq=False)
class InvalidDefinitionError(ExperimentError):
    """A definition contradicts itself; pairs of field path and what would be right, all of them."""

    violations: tuple[tuple[str, str], ...]


@dataclass(eq=False)
class ExperimentNotFoundError(ExperimentError):
    """No experiment of this name was ever created."""

    name: str


@dataclass(eq=False)
class ExperimentExistsError(ExperimentError):
    """Another request has created an experiment of this name."""

    name: str


@dataclass(eq=False)
class RequestIdReusedError(ExperimentError):
    """The request id has asked for something else before."""

    request_id: str


@dataclass(eq=False)
class ExperimentNotDraftError(ExperimentError):
    """Only a draft can be started."""

    name: str
    state: str


@dataclass(eq=False)
class ModelHasActiveExperimentError(ExperimentError):
    """Units of a model can be split by one experiment at a time."""

    model: str
    active: str


@dataclass(eq=False)
class FlagNotFoundError(ExperimentError):
    """No experiment has this id."""

    flag_key: str


@dataclass(eq=False)
class FlagTypeMismatchError(ExperimentError):
    """The flag of an experiment is a text, the alias of an arm."""

    flag_key: str
    asked_type: str


@dataclass(eq=False)
class TargetingKeyMissingError(ExperimentError):
    """The evaluation context names no unit."""

    flag_key: str
