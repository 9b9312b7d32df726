"""Turns the success of an attempt into a version, and promotes it where policy allows."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mltrainer_registry.application.ports import Clock, UnitOfWork, UnitOfWorkFactory
from mltrainer_registry.application.promotion import (
    ask_for_approval,
    evaluate_gate,
    point_alias,
    proposal_motive,
)
from mltrainer_registry.domain.aliases import POLICY_ACTOR, Motive
from mltrainer_registry.domain.changes import VersionCreated
from mltrainer_registry.domain.errors import ManifestNotUploadedError
from mltrainer_registry.domain.manifests import Manifest
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


@dataclass(frozen=True, slots=True)
class CreateVersionHandler:
    """Creates at most one version per training."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock

    async def __call__(self, command: CreateVersion) -> tuple[VersionOutcome, VersionName | None]:
        """Returns what became of the delivery and the version of the training.

        Raises:
            ManifestNotUploadedError: The attempt reports files it has not uploaded.
        """
        async with self.unit_of_work() as uow:
            if command.event_id and not await uow.inbox.claim(command.event_id):
                return VersionOutcome.SEEN_BEFORE, None
            outcome, name = await self._create(uow, command)
            await uow.commit()
        return outcome, name

    async def _create(
        self, uow: UnitOfWork, command: CreateVersion
    ) -> tuple[VersionOutcome, VersionName | None]:
        existing = await uow.models.version_of_training(command.training)
        if existing is not None:
            return VersionOutcome.TRAINING_HAS_VERSION, existing
        if command.fencing_token < await uow.trainings.lowest_token(command.training):
            return VersionOutcome.STALE_TOKEN, None
        await uow.trainings.refuse_below(command.training, command.fencing_token)
        manifest = await uow.trainings.manifest(command.training, command.manifest_digest)
        if manifest is None:
            raise ManifestNotUploadedError(command.training, command.manifest_digest)
        now = self.clock.now()
        version = await _next_version(uow, command, manifest, now)
        await uow.changes.record(VersionCreated(version))
        if not command.propose_alias:
            return VersionOutcome.CREATED, version.name
        return await self._propose(uow, command.propose_alias, version), version.name

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


async def _next_version(
    uow: UnitOfWork, command: CreateVersion, manifest: Manifest, now: datetime
) -> ModelVersion:
    number = await uow.models.version_count(command.model) + 1
    revision = await uow.changes.next_revision()
    return ModelVersion(
        name=VersionName(command.model, number),
        state=VersionState.ACTIVE,
        training=command.training,
        manifest=manifest,
        lineage=command.lineage,
        result=command.result,
        target=command.target,
        create_time=now,
        revision=revision,
        state_revision=revision,
        owner=command.owner,
        signature=command.signature,
    )
