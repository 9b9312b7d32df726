"""Points an alias to a version, or back to where it pointed before."""

from dataclasses import dataclass

from mltrainer_registry.application.ports import AnsweredRequest, Clock, UnitOfWork, UnitOfWorkFactory
from mltrainer_registry.application.promotion import evaluate_gate, point_alias, promotable, refusal
from mltrainer_registry.domain.aliases import Alias, Motive, check_expectation, number_before
from mltrainer_registry.domain.errors import (
    AliasNotFoundError,
    InvalidFieldError,
    RequestIdReusedError,
)
from mltrainer_registry.domain.names import AliasName, VersionName


@dataclass(frozen=True, slots=True)
class MoveAlias:
    """Points an alias to a version if it points to `expected` (None: nowhere yet)."""

    name: AliasName
    version: VersionName
    expected: VersionName | None
    motive: Motive
    request_id: str

    @property
    def fingerprint(self) -> str:
        """Says what is asked for."""
        return f"move {self.name} to {self.version}"


@dataclass(frozen=True, slots=True)
class RollBackAlias:
    """Points an alias to where it pointed before its last move; `expected` None is not checked."""

    name: AliasName
    expected: VersionName | None
    motive: Motive
    request_id: str

    @property
    def fingerprint(self) -> str:
        """Says what is asked for."""
        return f"roll back {self.name}"


@dataclass(frozen=True, slots=True)
class MoveAliasHandler:
    """Moves an alias by compare-and-set, if the gate passes."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock

    async def __call__(self, command: MoveAlias) -> Alias:
        """Returns the alias as it is after this request, also when the request was answered before.

        Raises:
            AliasMovedError: The alias does not point where the caller believes.
            GateNotPassedError: The version does not meet the conditions; the evaluation is kept.
        """
        if command.version.model != command.name.model:
            raise InvalidFieldError("version", f"is not a version of models/{command.name.model}")
        async with self.unit_of_work() as uow:
            if (answer := await _answered(uow, command)) is not None:
                return answer
            candidate = await promotable(uow, command.version)
            present = await uow.models.alias(command.name)
            check_expectation(command.name, present, command.expected)
            if present is not None and present.number == candidate.name.number:
                return await _answer(uow, command, present)
            now = self.clock.now()
            evaluation = await evaluate_gate(uow, command.name, candidate, present, now)
            if evaluation.passed:
                number = candidate.name.number
                moved = await point_alias(uow, command.name, present, number, motive=command.motive, now=now)
                return await _answer(uow, command, moved)
            await uow.commit()
        raise refusal(evaluation)


@dataclass(frozen=True, slots=True)
class RollBackAliasHandler:
    """Undoes the last move of an alias by a new one; no gate stands in the way back."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock

    async def __call__(self, command: RollBackAlias) -> Alias:
        """Returns the alias as it is after this request, also when the request was answered before.

        Raises:
            NoEarlierVersionError: The alias has pointed to one version only.
        """
        async with self.unit_of_work() as uow:
            if (answer := await _answered(uow, command)) is not None:
                return answer
            last = await uow.models.last_move(command.name)
            if last is None:
                raise AliasNotFoundError(str(command.name))
            if command.expected is not None:
                check_expectation(command.name, last.result, command.expected)
            earlier = await promotable(uow, command.name.version(number_before(last)))
            number, now = earlier.name.number, self.clock.now()
            moved = await point_alias(uow, command.name, last.result, number, motive=command.motive, now=now)
            return await _answer(uow, command, moved)


async def _answered(uow: UnitOfWork, command: MoveAlias | RollBackAlias) -> Alias | None:
    request = await uow.models.answered(command.request_id) if command.request_id else None
    if request is None:
        return None
    if request.fingerprint != command.fingerprint:
        raise RequestIdReusedError(command.request_id)
    return request.answer


async def _answer(uow: UnitOfWork, command: MoveAlias | RollBackAlias, alias: Alias) -> Alias:
    if command.request_id:
        await uow.models.remember(AnsweredRequest(command.request_id, command.fingerprint, alias))
    await uow.commit()
    return alias
