"""Decides where aliases may be pointed."""

from dataclasses import dataclass
from datetime import datetime

from mltrainer_registry.domain.errors import AliasMovedError, NoEarlierVersionError
from mltrainer_registry.domain.names import AliasName, VersionName

POLICY_ACTOR = "policy"


@dataclass(frozen=True, slots=True)
class Alias:
    """Says where an alias points, since when and by which revision."""

    name: AliasName
    number: int
    update_time: datetime
    revision: int

    @property
    def version(self) -> VersionName:
        """Names the version it points to."""
        return self.name.version(self.number)


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One entry of an alias's history; `from_number` is None at first."""

    alias: AliasName
    from_number: int | None
    to_number: int
    actor: str
    reason: str
    move_time: datetime
    revision: int

    @property
    def result(self) -> Alias:
        """Returns the alias after this move."""
        return Alias(self.alias, self.to_number, self.move_time, self.revision)


@dataclass(frozen=True, slots=True)
class Motive:
    """Says who moves an alias and why."""

    actor: str
    reason: str


def check_expectation(name: AliasName, present: Alias | None, expected: VersionName | None) -> None:
    """Raises AliasMovedError unless the alias points where the caller believes (None: nowhere yet)."""
    actual = present.version if present else None
    if actual != expected:
        raise AliasMovedError(str(name), str(expected or ""), str(actual or ""))


def move(
    name: AliasName, present: Alias | None, number: int, *, motive: Motive, now: datetime, revision: int
) -> AliasMove:
    """Makes the next entry of the history; its time never runs behind the entry before."""
    return AliasMove(
        alias=name,
        from_number=present.number if present else None,
        to_number=number,
        actor=motive.actor,
        reason=motive.reason,
        move_time=max(now, present.update_time) if present else now,
        revision=revision,
    )


def number_before(last: AliasMove) -> int:
    """Returns the number an alias pointed to before its last move.

    Raises:
        NoEarlierVersionError: That was its first move.
    """
    if last.from_number is None:
        raise NoEarlierVersionError(str(last.alias))
    return last.from_number
