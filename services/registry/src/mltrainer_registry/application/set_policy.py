"""Sets the conditions of an alias."""

from collections.abc import Sequence
from dataclasses import dataclass

from mltrainer_registry.application.ports import Clock, UnitOfWorkFactory
from mltrainer_registry.domain.aliases import Motive
from mltrainer_registry.domain.changes import GatePolicyChanged
from mltrainer_registry.domain.errors import StaleEtagError
from mltrainer_registry.domain.names import PolicyName
from mltrainer_registry.domain.policies import Condition, PolicyChange, check_conditions


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """Sets a policy; an empty etag is not checked."""

    name: PolicyName
    conditions: Sequence[Condition]
    motive: Motive
    etag: str


@dataclass(frozen=True, slots=True)
class SetPolicyHandler:
    """Appends to the history of a policy; conditions that hold already add nothing."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock

    async def __call__(self, command: SetPolicy) -> PolicyChange:
        """Returns the policy that holds from now on.

        Raises:
            InvalidFieldError: A condition does not make sense.
            StaleEtagError: The policy has changed since the caller read it.
        """
        policy = check_conditions(command.conditions)
        async with self.unit_of_work() as uow:
            present = await uow.policies.latest(command.name)
            if command.etag and (present is None or present.etag != command.etag):
                raise StaleEtagError(str(command.name), command.etag)
            if present is not None and present.policy == policy:
                return present
            change = PolicyChange(
                name=command.name,
                number=present.number + 1 if present else 1,
                policy=policy,
                actor=command.motive.actor,
                reason=command.motive.reason,
                update_time=self.clock.now(),
                revision=await uow.changes.next_revision(),
            )
            await uow.changes.record(GatePolicyChanged(change))
            await uow.commit()
        return change
