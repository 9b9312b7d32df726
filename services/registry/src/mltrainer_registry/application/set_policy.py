"""Sets the conditions of an alias."""

from collections.abc import Sequence
from dataclasses import dataclass

from mltrainer_registry.application.ports import Clock, UnitOfWorkFactory
from mltrainer_registry.domain.aliases import Motive
from mltrainer_registry.domain.changes import GatePolicyChanged
from mltrainer_registry.domain.errors import PolicyNotFoundError, StaleEtagError
from mltrainer_registry.domain.names import PolicyName
from mltrainer_registry.domain.policies import Condition, PolicyChange, check_conditions, check_may_be_unset


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """Sets a policy, or takes it back where conditions are None; an empty etag is not checked."""

    name: PolicyName
    conditions: Sequence[Condition] | None
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
            InvalidFieldError: A condition does not make sense, or the policy is the last resort.
            PolicyNotFoundError: What shall be taken back was never set.
            StaleEtagError: The policy has changed since the caller read it.
        """
        policy = None if command.conditions is None else check_conditions(command.conditions)
        if policy is None:
            check_may_be_unset(command.name)
        async with self.unit_of_work() as uow:
            present = await uow.policies.latest(command.name)
            if command.etag and (present is None or present.etag != command.etag):
                raise StaleEtagError(str(command.name), command.etag)
            if present is None and policy is None:
                raise PolicyNotFoundError(str(command.name))
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
