"""Keeps the newest row of each symbol in memory, following what is committed."""

import asyncio
import struct
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltrainer_feature.application.online_plans import KeyGroup
from mltrainer_feature.application.ports import UnitOfWorkFactory
from mltrainer_feature.domain.online import Cell, OnlineFeature, OnlineSchema, ValueKind
from mltrainer_feature.domain.rows import FEATURE_NAMES, RowMatrix
from mltrainer_feature.wire.online_format import DOUBLE_BYTES, double_cells, key_values, time_cell

_CELLS = struct.Struct(f"{DOUBLE_BYTES}s" * len(FEATURE_NAMES))


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

    def cells(self, rows: RowMatrix) -> list[dict[bytes, bytes]]:
        """Returns the cells of rows by field."""
        lines = double_cells(rows.values)
        found = [dict(zip(self.fields, cells, strict=True)) for cells in _CELLS.iter_unpack(lines.tobytes())]
        for row, feature in np.argwhere(np.isnan(rows.values)).tolist():
            found[row][self.fields[feature]] = b""
        for cells, time in zip(found, time_cells(rows.event_times), strict=True):
            cells.update(dict.fromkeys(self.time_fields, time))
        return found


def time_cells(times_us: NDArray[np.int64]) -> list[bytes]:
    """Returns times as stored; rows of one moment share theirs."""
    counts = times_us.tolist()
    made = {count: time_cell(count) for count in set(counts)}
    return [made[count] for count in counts]


class CachedOnlineRows:
    """Implements `OnlineRows` and `OnlineStore`: only committed rows enter, whichever process wrote them."""

    def __init__(self, unit_of_work: UnitOfWorkFactory, layout: RowLayout) -> None:
        self._unit_of_work = unit_of_work
        self._layout = layout
        self._rows: dict[bytes, dict[bytes, bytes]] = {}
        self._times: dict[str, tuple[int, int]] = {}
        self._log_revision = -1
        self._lock = asyncio.Lock()

    async def refresh(self) -> None:
        """Takes over what has been committed since the last time."""
        async with self._lock:
            await self._follow()

    async def take(self, rows: RowMatrix, log_revision: int) -> None:
        """Takes over rows that were committed as a revision; asks for them where others come before it."""
        async with self._lock:
            if self._log_revision != log_revision - 1:
                await self._follow()
                return
            times = zip(rows.event_times.tolist(), rows.created_times.tolist(), strict=True)
            held = self._times
            newer = [
                place
                for place, (symbol, own) in enumerate(zip(rows.symbols, times, strict=True))
                if symbol not in held or own >= held[symbol]
            ]
            self._hold(rows if len(newer) == len(rows) else rows.at(np.array(newer, dtype=np.int64)))
            self._log_revision = log_revision

    async def _follow(self) -> None:
        async with self._unit_of_work.snapshot() as stored:
            rows, reached = await stored.rows.online_rows(self._log_revision)
        self._hold(rows)
        self._log_revision = reached

    def _hold(self, rows: RowMatrix) -> None:
        keys = map(self._layout.key, rows.symbols)
        self._rows.update(zip(keys, self._layout.cells(rows), strict=True))
        times = zip(rows.event_times.tolist(), rows.created_times.tolist(), strict=True)
        self._times.update(zip(rows.symbols, times, strict=True))

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
