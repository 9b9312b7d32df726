"""What chaos refuses, with the facts of each refusal."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """Names one place of an experiment, by path, and says what is wrong there."""

    path: str
    description: str


class MalformedError(Exception):
    """A part of an experiment cannot be read; the text says what would be right."""


class ChaosError(Exception):
    """Something that chaos refuses."""


@dataclass(eq=False)
class InvalidExperimentError(ChaosError):
    """The experiment is malformed, or asks for what is never done."""

    violations: tuple[Violation, ...]


@dataclass(eq=False)
class TargetNotAllowedError(ChaosError):
    """The settings do not allow faults in this process."""

    target: str


@dataclass(eq=False)
class TargetBusyError(ChaosError):
    """Another run has the target."""

    target: str
    run: str


@dataclass(eq=False)
class KillSwitchOnError(ChaosError):
    """Somebody has stopped all runs and not released them yet."""

    actor: str
    reason: str


@dataclass(eq=False)
class RunNotFoundError(ChaosError):
    """No run has this name."""

    name: str


@dataclass(eq=False)
class InvalidFieldError(ChaosError):
    """A field of a request is malformed; `description` says what would be right."""

    field: str
    description: str


@dataclass(eq=False)
class RequestIdReusedError(ChaosError):
    """The request id has answered a request with another experiment."""

    request_id: str
