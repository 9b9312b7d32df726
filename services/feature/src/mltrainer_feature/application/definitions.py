"""Applies declared on-demand views and feature services, and adds them to what can be read."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from mltrainer_features import OnDemandView, on_demand_features

from mltrainer_feature.application.definition_ports import DefinedSchemas
from mltrainer_feature.application.on_demand import select
from mltrainer_feature.application.ports import Repositories, UnitOfWorkFactory
from mltrainer_feature.domain.declarations import check_declared
from mltrainer_feature.domain.definitions import (
    Action,
    Change,
    Content,
    DefinitionKind,
    Definitions,
    FeatureList,
    plan_changes,
)
from mltrainer_feature.domain.errors import (
    DefinitionsChangedError,
    FeatureViewRemovedError,
    InvalidDefinitionsError,
    UnknownFeatureError,
    Violation,
)
from mltrainer_feature.domain.online import OnlineSchema


@dataclass(frozen=True, slots=True)
class ApplyDefinitions:
    """Declared views and services; `etag` is empty where any known state will do."""

    declared: Sequence[Content]
    prune: bool = False
    validate_only: bool = False
    etag: str = ""


@dataclass(frozen=True, slots=True)
class AppliedDefinitions:
    """What has changed or would change, and the etag of what is defined now."""

    changes: Sequence[Change]
    etag: str


@dataclass(frozen=True, slots=True)
class ApplyDefinitionsHandler:
    """Applies all declarations or none; the same ones again change nothing."""

    unit_of_work: UnitOfWorkFactory
    schemas: DefinedSchemas

    async def __call__(self, command: ApplyDefinitions) -> AppliedDefinitions:
        """Plans against what is stored, and stores it unless it is asked only.

        Raises:
            InvalidDefinitionsError: A declaration cannot be, alone or with the others.
            DefinitionsChangedError: The definitions are not those of the etag.
        """
        check_declared(command.declared, self.schemas.stored.join_keys)
        if command.validate_only:
            async with self.unit_of_work.snapshot() as stored:
                known, changes, _ = await self._plan(stored, command)
            return AppliedDefinitions(changes, str(known.revision))
        async with self.unit_of_work() as uow:
            # Whoever applies at the same time waits here.
            await uow.store.load()
            _, changes, after = await self._plan(uow, command)
            changed = [change.after for change in changes if change.action is not Action.KEEP]
            if changed:
                await uow.definitions.save(changed)
                await uow.commit()
        self.schemas.define(after)
        return AppliedDefinitions(changes, str(after.revision))

    async def _plan(
        self, stored: Repositories, command: ApplyDefinitions
    ) -> tuple[Definitions, list[Change], Definitions]:
        known = await stored.definitions.load()
        if command.etag not in {"", str(known.revision)}:
            raise DefinitionsChangedError(str(known.revision))
        changes = plan_changes(known, command.declared, prune=command.prune)
        after = known.changed([change.after for change in changes if change.action is not Action.KEEP])
        changed = {change.after.name for change in changes if change.action is not Action.KEEP}
        require_readable(after, known, changed, self.schemas.stored)
        return known, changes, after


@dataclass(frozen=True, slots=True)
class FollowDefinitions:
    """Serves what was applied, by this process or another."""

    unit_of_work: UnitOfWorkFactory
    schemas: DefinedSchemas

    async def __call__(self) -> None:
        async with self.unit_of_work.snapshot() as stored:
            definitions = await stored.definitions.load()
        self.schemas.define(definitions)


@dataclass(frozen=True, slots=True)
class DefinitionQueries:
    """Reads what is defined now."""

    unit_of_work: UnitOfWorkFactory

    async def views(self) -> tuple[OnDemandView, ...]:
        """Returns the on-demand views that were applied, by name."""
        async with self.unit_of_work.snapshot() as stored:
            return (await stored.definitions.load()).views

    async def services(self) -> tuple[FeatureList, ...]:
        """Returns the feature services that were applied, by name."""
        async with self.unit_of_work.snapshot() as stored:
            return (await stored.definitions.load()).services


def with_definitions(stored: OnlineSchema, definitions: Definitions) -> OnlineSchema:
    """Adds definitions to what is stored; where a name is both, what is stored is read."""
    computed = {
        f"{view.name}:{feature.name}": feature for view in definitions.views for feature in view.features
    } | on_demand_features()
    lists = {service.name: service.features for service in definitions.services}
    views = definitions.removed(DefinitionKind.ON_DEMAND_VIEW, DefinitionKind.STORED_VIEW)
    removed = dict.fromkeys(definitions.removed(DefinitionKind.FEATURE_SERVICE), ())
    standing = view_names(stored) | {reference.partition(":")[0] for reference in computed}
    return replace(
        stored,
        computed=computed,
        lists=lists,
        removed_views=(stored.removed_views | views) - standing,
        removed_services={**removed, **stored.removed_services},
    )


def view_names(schema: OnlineSchema) -> frozenset[str]:
    """Names the stored views of a schema."""
    return frozenset(reference.partition(":")[0] for reference in schema.features)


def require_readable(
    after: Definitions, before: Definitions, changed: Collection[str], stored: OnlineSchema
) -> None:
    """Checks that definitions hide no stored view or service, and that every service can be read.

    What nobody changes and could not be read before, since a registry of others has changed, is let pass.

    Raises:
        InvalidDefinitionsError: Some cannot be.
    """
    known = set(_violations(before, stored))
    violations = [
        violation
        for violation in _violations(after, stored)
        if violation not in known or violation.field.partition(".")[0] in changed
    ]
    if violations:
        raise InvalidDefinitionsError(violations)


def _violations(definitions: Definitions, stored: OnlineSchema) -> list[Violation]:
    taken, names = "is the name of a view or service that is served already", view_names(stored)
    violations = [Violation(view.name, taken) for view in definitions.views if view.name in names]
    violations += [
        Violation(service.name, taken) for service in definitions.services if service.name in stored.services
    ]
    schema = with_definitions(stored, definitions)
    for service in definitions.services:
        for reference in service.features:
            try:
                select([reference], schema)
            except (UnknownFeatureError, FeatureViewRemovedError) as error:
                violations.append(Violation(f"{service.name}.features.{reference}", str(error)))
    return violations
