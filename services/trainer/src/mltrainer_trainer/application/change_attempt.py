"""Applies one step of the state machine to a stored attempt."""

from collections.abc import Callable

from mltrainer_trainer.application.ports import UnitOfWork, UnitOfWorkFactory
from mltrainer_trainer.domain.attempt import Attempt, AttemptIdentity, Change, check_identity
from mltrainer_trainer.domain.errors import AttemptNotFoundError


async def change_attempt(
    unit_of_work: UnitOfWorkFactory, name: str, step: Callable[[Attempt], Change]
) -> Attempt:
    """Loads the attempt as it is now, takes the step, and commits state and events together.

    Raises:
        AttemptNotFoundError: No such attempt.
    """
    async with unit_of_work() as uow:
        attempt = await uow.attempts.get(name)
        if attempt is None:
            raise AttemptNotFoundError(name)
        change = step(attempt)
        if change.attempt != attempt:
            await save_change(uow, change)
            await uow.commit()
    return change.attempt


async def save_change(uow: UnitOfWork, change: Change) -> None:
    """Adds the attempt and its events to the transaction."""
    await uow.attempts.save(change.attempt)
    for event in change.events:
        uow.outbox.add(event)


async def load_speaker(uow: UnitOfWork, identity: AttemptIdentity) -> Attempt:
    """Returns the attempt that speaks.

    Raises:
        AttemptNotFoundError: No such attempt.
        StaleFencingTokenError: Its allocation has been succeeded by another.
    """
    attempt = await uow.attempts.get(identity.name)
    if attempt is None:
        raise AttemptNotFoundError(identity.name)
    check_identity(attempt, identity, await uow.attempts.highest_token(attempt.placement.training))
    return attempt
