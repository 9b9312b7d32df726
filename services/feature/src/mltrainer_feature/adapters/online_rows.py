"""Keeps the newest row of each symbol in memory, following what is committed."""

import asyncio
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from mltrainer_feature.adapters.frames import to_microseconds
from mltrainer_feature.application.online_plans import KeyGroup
from mltrainer_feature.application.ports import UnitOfWorkFactory
from mltrainer_feature.domain.online import Cell, OnlineFeature, OnlineRow, OnlineSchema, ValueKind
from mltrainer_feature.domain.rows import FEATURE_NAMES
from mltrainer_feature.wire.online_format import double_cell, key_values, time_cell


class RowLayout:
    """Turns rows of symbols into keys, fields and cells, for every view that this service computes itself."""

    def __init__(self, schema: OnlineSchema) -> None:
        features: dict[str, OnlineFeature] = {item.name: item for item in schema.features.values()}
        ordered = [features[name] for name in FEATURE_NAMES]
        self.views = tuple(dict.fromkeys(feature.view for feature in ordered))
        self.fields = tuple(feature.field for feature in ordered)
        self.time_fields = tuple(view.time_field for view in self.views)
        self._prefix, self._suffix = self.views[0].key_prefix, self.views[0].key_suffix
        self.project = self.views[0].project

    def key(self, symbol: str) -> bytes:
        """Returns the key of a symbol's row."""
        return self._prefix + key_values(ValueKind.STRING, [symbol])[0] + self._suffix

    def cells(self, row: OnlineRow) -> dict[bytes, bytes]:
        """Returns a row's cells by field."""
        cells = dict(zip(self.fields, map(double_cell, row.values), strict=True))
        time = time_cell(to_microseconds(row.event_time))
        cells.update(dict.fromkeys(self.time_fields, time))
        return cells


class CachedOnlineRows:
    """Implements `OnlineRows` and `OnlineStore`: only committed rows enter, whichever process wrote them."""

    def __init__(self, unit_of_work: UnitOfWorkFactory, layout: RowLayout) -> None:
        self._unit_of_work = unit_of_work
        self._layout = layout
        self._rows: dict[bytes, dict[bytes, bytes]] = {}
        self._log_revision = -1
        self._lock = asyncio.Lock()

    async def refresh(self) -> None:
        """Takes over what has been committed since the last time."""
        async with self._lock:
            async with self._unit_of_work.snapshot() as stored:
                rows, self._log_revision = await stored.rows.online_rows(self._log_revision)
            self._rows.update({self._layout.key(row.symbol): self._layout.cells(row) for row in rows})

    async def read(
        self, groups: Sequence[KeyGroup], keys: Sequence[Sequence[bytes]]
    ) -> list[list[Sequence[Cell]]]:
        """Returns the cells of rows in memory."""
        return [_cells(self._rows, group, wanted) for group, wanted in zip(groups, keys, strict=True)]


def _cells(
    rows: dict[bytes, dict[bytes, bytes]], group: KeyGroup, keys: Iterable[bytes]
) -> list[Sequence[Cell]]:
    missing = (None,) * len(group.fields)
    pick: Any = itemgetter(*group.fields)
    found = (rows.get(key) for key in keys)
    return [missing if row is None else pick(row) for row in found]
