"""Answers the arm of a unit, as an assignment or as the value of an OpenFeature flag."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import StrEnum

from mltrainer_experiment.application.log_exposures import ExposureLog
from mltrainer_experiment.application.ports import Clock
from mltrainer_experiment.application.split_table import SplitTable
from mltrainer_experiment.domain.errors import (
    FlagNotFoundError,
    FlagTypeMismatchError,
    TargetingKeyMissingError,
)
from mltrainer_experiment.domain.experiment import Arm, Exposure, Split
from mltrainer_experiment.domain.validation import check_text

SOURCE = "experiment"


class FlagType(StrEnum):
    """What a client may ask a flag to be."""

    BOOLEAN = "boolean"
    STRING = "string"
    INT = "int"
    FLOAT = "float"
    OBJECT = "object"


class FlagReason(StrEnum):
    """Why a flag has its value.

    STATIC is never answered: clients would cache one unit's arm for all units.
    """

    SPLIT = "SPLIT"
    DEFAULT = "DEFAULT"


@dataclass(frozen=True, slots=True)
class Flag:
    """The value of a flag for one unit: the alias of its arm."""

    flag_key: str
    value: str
    variant: str
    reason: FlagReason


@dataclass(frozen=True, slots=True)
class AssignUnitHandler:
    """Assigns a unit and makes its exposure durable before it answers."""

    table: SplitTable
    log: ExposureLog
    clock: Clock

    async def __call__(self, experiment_id: str, unit: str) -> Arm:
        """Returns the arm.

        Raises:
            ExperimentNotFoundError: There is no such experiment.
        """
        return await self.assign(self.table.split(experiment_id), check_text(unit, "unit"))

    async def assign(self, split: Split, unit: str) -> Arm:
        """Returns the arm of a unit under a split."""
        arm = split.arm(unit)
        if arm.exposed:
            exposure = Exposure(split.experiment.experiment_id, unit, arm.variant, self.clock.now(), SOURCE)
            await self.log.record(exposure)
        return arm


@dataclass(frozen=True, slots=True)
class ResolveFlagHandler:
    """Resolves one flag, which counts as an exposure."""

    table: SplitTable
    assign: AssignUnitHandler

    async def __call__(self, flag_key: str, asked_type: FlagType, targeting_key: str) -> Flag:
        """Returns the value.

        Raises:
            FlagNotFoundError: No experiment has this id.
            FlagTypeMismatchError: The flag is a text.
            TargetingKeyMissingError: The context names no unit.
        """
        split = self.table.find(flag_key)
        if split is None:
            raise FlagNotFoundError(flag_key)
        if asked_type is not FlagType.STRING:
            raise FlagTypeMismatchError(flag_key, asked_type)
        return _flag(flag_key, await self.assign.assign(split, _unit(flag_key, targeting_key)))


@dataclass(frozen=True, slots=True)
class ResolveAllFlagsHandler:
    """Resolves all flags at once; nobody meets an arm by that, so no exposure is logged."""

    table: SplitTable

    async def __call__(self, targeting_key: str) -> list[Flag]:
        """Returns the values for a unit."""
        return [
            _flag(name, split.arm(_unit(name, targeting_key)))
            for split in self.table.splits()
            for name in [split.experiment.experiment_id]
        ]


@dataclass(frozen=True, slots=True)
class FollowFlagsHandler:
    """Tells which flags change."""

    table: SplitTable

    async def __call__(self) -> AsyncGenerator[list[str], None]:
        """Yields nothing changed at first, to say that flags can be resolved, then keys as they change."""
        position = self.table.position
        yield []
        while True:
            keys = await self.table.changes_after(position)
            position = self.table.position
            yield keys


def _unit(flag_key: str, targeting_key: str) -> str:
    if not targeting_key:
        raise TargetingKeyMissingError(flag_key)
    return check_text(targeting_key, "context.targetingKey")


def _flag(flag_key: str, arm: Arm) -> Flag:
    reason = FlagReason.SPLIT if arm.exposed else FlagReason.DEFAULT
    return Flag(flag_key, arm.alias, arm.variant, reason)
