"""Turns the success of an attempt into a version, and promotes it where policy allows."""

from collections.abc import Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from mltrainer_registry.application.coalescing import Request
from mltrainer_registry.application.ports import (
    Clock,
    DeliveryFacts,
    DeliveryKey,
    UnitOfWork,
    UnitOfWorkFactory,
)
from mltrainer_registry.application.promotion import (
    ask_for_approval,
    evaluate_gate,
    point_alias,
    proposal_motive,
)
from mltrainer_registry.domain.aliases import POLICY_ACTOR, Motive
from mltrainer_registry.domain.errors import ManifestNotUploadedError
from mltrainer_registry.domain.imports import ImportOrigin
from mltrainer_registry.domain.names import AliasName, VersionName, is_alias_id
from mltrainer_registry.domain.versions import (
    NO_SIGNATURE,
    Lineage,
    ModelVersion,
    Result,
    Signature,
    Target,
    VersionState,
)


@dataclass(frozen=True, slots=True)
class CreateVersion:
    """What an attempt delivered.

    Attributes:
        event_id: Lets an event take effect once; empty for what comes by a call.
        propose_alias: The alias that shall move to the version; empty where none shall.
        owner: Who asked for the training; empty where unknown.
        origin: Where it is imported from; None where it was made here.
    """

    event_id: str
    training: str
    fencing_token: int
    model: str
    manifest_digest: str
    lineage: Lineage
    result: Result
    target: Target
    propose_alias: str
    owner: str = ""
    signature: Signature = NO_SIGNATURE
    origin: ImportOrigin | None = None

    @property
    def key(self) -> DeliveryKey:
        """Says what must be known to decide it."""
        return DeliveryKey(self.training, self.model, self.manifest_digest)


class VersionOutcome(StrEnum):
    """Says what became of a delivery."""

    CREATED = "CREATED"
    PROMOTED = "PROMOTED"
    NOT_PROMOTED = "NOT_PROMOTED"
    AWAITS_APPROVAL = "AWAITS_APPROVAL"
    ALIAS_INVALID = "ALIAS_INVALID"
    SEEN_BEFORE = "SEEN_BEFORE"
    STALE_TOKEN = "STALE_TOKEN"  # noqa: S105 - a fencing token is no secret
    TRAINING_HAS_VERSION = "TRAINING_HAS_VERSION"


class Delivery(NamedTuple):
    """Says what became of a delivery, and the version of its training where there is one."""

    outcome: VersionOutcome
    name: VersionName | None


@dataclass(frozen=True, slots=True)
class CreateVersionHandler:
    """Creates at most one version per training, and many in one transaction."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock

    async def __call__(self, command: CreateVersion) -> Delivery:
        """Returns what became of one delivery.

        Raises:
            ManifestNotUploadedError: The attempt reports files it has not uploaded.
        """
        (answer,) = await self.all([Request(command, copy_context())])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def all(self, requests: Sequence[Request[CreateVersion]]) -> list[Delivery | Exception]:
        """Returns what became of each delivery, in order; one that is refused leaves the others alone."""
        async with self.unit_of_work() as uow:
            ledger = _Ledger(await uow.deliveries.facts([request.command.key for request in requests]))
            commands = [request.command for request in requests]
            event_ids = [one.event_id for one in commands if one.event_id and not ledger.refusal(one)]
            claimed = await uow.inbox.claim_all(event_ids)
            now, answers = self.clock.now(), list[Delivery | Exception]()
            created: list[tuple[ModelVersion, Context]] = []
            for request in requests:
                answer = ledger.answer(request.command, claimed)
                if answer is None:
                    version = ledger.create(request.command, await uow.changes.next_revision(), now)
                    created.append((version, request.context))
                    answer = Delivery(VersionOutcome.CREATED, version.name)
                answers.append(answer)
            await uow.deliveries.refuse_below(ledger.raised_tokens)
            await uow.changes.record_versions(created)
            await self._propose_all(uow, commands, answers, {version.name: version for version, _ in created})
            await uow.commit()
        return answers

    async def _propose_all(
        self,
        uow: UnitOfWork,
        commands: Sequence[CreateVersion],
        answers: list[Delivery | Exception],
        created: Mapping[VersionName, ModelVersion],
    ) -> None:
        for index, (command, answer) in enumerate(zip(commands, answers, strict=True)):
            match answer:
                case Delivery(VersionOutcome.CREATED, name) if name is not None and command.propose_alias:
                    outcome = await self._propose(uow, command.propose_alias, created[name])
                    answers[index] = Delivery(outcome, name)

    async def _propose(self, uow: UnitOfWork, alias: str, version: ModelVersion) -> VersionOutcome:
        if not is_alias_id(alias):
            return VersionOutcome.ALIAS_INVALID
        name = AliasName(version.name.model, alias)
        present = await uow.models.alias(name)
        evaluation = await evaluate_gate(uow, name, version, present, version.create_time)
        number, now = version.name.number, version.create_time
        if evaluation.lacks_approval_only:
            motive = proposal_motive(version)
            _ = await ask_for_approval(uow, name, version, present, motive=motive, now=now)
            return VersionOutcome.AWAITS_APPROVAL
        if not evaluation.passed:
            return VersionOutcome.NOT_PROMOTED
        motive = Motive(POLICY_ACTOR, f"{version.training} proposed it and the gate passed")
        _ = await point_alias(uow, name, present, number, motive=motive, now=now)
        return VersionOutcome.PROMOTED


class _Ledger:
    """Decides deliveries one after the other as if each were alone, and remembers what they have changed."""

    def __init__(self, facts: DeliveryFacts) -> None:
        self._versions = dict(facts.versions)
        self._tokens = dict(facts.lowest_tokens)
        self._counts = dict(facts.version_counts)
        self._manifests = facts.manifests
        self.raised_tokens: dict[str, int] = {}

    def refusal(self, command: CreateVersion) -> ManifestNotUploadedError | None:
        """Returns why a delivery that is not stale cannot be taken; it takes effect when it comes again."""
        training, digest = command.training, command.manifest_digest
        if self._settled(command) is not None or (training, digest) in self._manifests:
            return None
        return ManifestNotUploadedError(training, digest)

    def answer(self, command: CreateVersion, claimed: set[str]) -> Delivery | Exception | None:
        """Returns the answer to a delivery; None where it shall have a version."""
        refusal = self.refusal(command)
        if refusal is not None:
            return refusal
        if command.event_id and command.event_id not in claimed:
            return Delivery(VersionOutcome.SEEN_BEFORE, None)
        claimed.discard(command.event_id)
        return self._settled(command)

    def create(self, command: CreateVersion, revision: int, now: datetime) -> ModelVersion:
        """Gives a delivery the next number of its model."""
        number = self._counts.get(command.model, 0) + 1
        version = ModelVersion(
            name=VersionName(command.model, number),
            state=VersionState.ACTIVE,
            training=command.training,
            manifest=self._manifests[command.training, command.manifest_digest],
            lineage=command.lineage,
            result=command.result,
            target=command.target,
            create_time=now,
            revision=revision,
            state_revision=revision,
            owner=command.owner,
            signature=command.signature,
            origin=command.origin,
        )
        self._counts[command.model] = number
        self._versions[command.training] = version.name
        # The upload has raised the mark already, unless it was another attempt's.
        if command.fencing_token > self._tokens.get(command.training, 0):
            self.raised_tokens[command.training] = command.fencing_token
        return version

    def _settled(self, command: CreateVersion) -> Delivery | None:
        existing = self._versions.get(command.training)
        if existing is not None:
            return Delivery(VersionOutcome.TRAINING_HAS_VERSION, existing)
        if command.fencing_token < self._tokens.get(command.training, 0):
            return Delivery(VersionOutcome.STALE_TOKEN, None)
        return None
