"""Keeps the state of store, datasets and bulk loads in SQL."""

import json
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from mltrainer_common.database import DatabaseDialect, upsert
from mltrainer_features import TargetKind
from sqlalchemy import Select, Table, delete, insert, select, true
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_feature.adapters.sql_session import SqlSession
from mltrainer_feature.adapters.tables import bar_import, dataset, store_state, view_state
from mltrainer_feature.domain.datasets import Dataset, DatasetSpec, DatasetState, ViewRevision
from mltrainer_feature.domain.imports import BarImport, ImportState
from mltrainer_feature.domain.universes import SymbolEdge, Universe
from mltrainer_feature.domain.views import StoreState, ViewState

_ONLY = 1
_VIEW_COLUMNS = len(view_state.c)
_STATE = (
    select(store_state, *(view_state.c[field.name] for field in fields(ViewState)))
    .outerjoin(view_state, true())
    .order_by(view_state.c.name)
)
_LOCKED_STATE = _STATE.with_for_update(of=store_state)
_FORGET_VIEWS = delete(view_state)
_INSERT_VIEW = insert(view_state)


def _save_state(product: Any) -> Any:
    statement = product.insert(store_state)
    changed = {
        column.name: statement.excluded[column.name] for column in store_state.c if column.name != "id"
    }
    return statement.on_conflict_do_update(index_elements=["id"], set_=changed)


_SAVE_STATE = {
    DatabaseDialect.SQLITE.value: _save_state(sqlite),
    DatabaseDialect.POSTGRESQL.value: _save_state(postgresql),
}


@dataclass(frozen=True, slots=True)
class SqlStoreRepository:
    """Implements `StoreRepository`; `locks` makes readers of a write transaction wait for one another."""

    session: SqlSession
    locks: bool

    async def load(self) -> StoreState | None:
        """Returns the state, locked in a write transaction; None before the first start."""
        # SQLite lets one writer in at a time and knows no row locks; SQLAlchemy leaves them out there.
        records = await self.session.fetch(_LOCKED_STATE if self.locks else _STATE, {})
        if not records:
            return None
        record = records[0]
        return StoreState(
            record.layout_digest,
            timedelta(seconds=record.decision_delay_s),
            record.latest_event_time,
            record.sealed_time,
            tuple(ViewState(*one[-_VIEW_COLUMNS:]) for one in records if one.name is not None),
        )

    async def save(self, state: StoreState) -> None:
        """Stores the state."""
        record = {
            "id": _ONLY,
            "layout_digest": state.layout_digest,
            "decision_delay_s": int(state.decision_delay.total_seconds()),
            "latest_event_time": state.latest_event_time,
            "sealed_time": state.sealed_time,
        }
        product = self.session.connection.dialect.name
        self.session.write(_SAVE_STATE[product], record)
        self.session.write(_FORGET_VIEWS, {})
        self.session.write(_INSERT_VIEW, *(asdict(view) for view in state.views))


@dataclass(frozen=True, slots=True)
class SqlDatasetRepository:
    """Implements `DatasetRepository`."""

    connection: AsyncConnection

    async def get(self, name: str) -> Dataset | None:
        """Returns a dataset."""
        record = (await self.connection.execute(select(dataset).where(dataset.c.name == name))).one_or_none()
        return None if record is None else _read_dataset(record)

    async def save(self, value: Dataset) -> None:
        """Stores a dataset, new or changed."""
        record = {
            "name": value.name,
            "spec": _write_spec(value.spec),
            "view_revisions": json.dumps([asdict(view) for view in value.view_revisions]),
            "state": value.state.value,
            "revision": value.revision,
            "sha256": value.sha256,
            "uri": value.uri,
            "row_count": value.row_count,
            "progress": value.progress,
            "error": value.error,
            "create_time": value.create_time,
            "universe": None if value.universe is None else _write_universe(value.universe),
            "used_time": value.used_time or value.create_time,
        }
        await _save(self.connection, dataset, "name", record)

    async def page(self, before: int | None, limit: int) -> list[tuple[int, Dataset]]:
        """Returns datasets, newest first, each with its place in the list."""
        query = select(dataset).order_by(dataset.c.sequence.desc()).limit(limit)
        if before is not None:
            query = query.where(dataset.c.sequence < before)
        return [(record.sequence, _read_dataset(record)) for record in await self.connection.execute(query)]

    async def next_creating(self) -> Dataset | None:
        """Returns the dataset that waits longest to be written."""
        query = select(dataset).where(dataset.c.state == DatasetState.CREATING.value)
        record = (await self.connection.execute(query.order_by(dataset.c.sequence).limit(1))).one_or_none()
        return None if record is None else _read_dataset(record)

    async def idle(self, before: datetime) -> list[Dataset]:
        """Returns the active datasets that were last asked for before a time, oldest first."""
        query = select(dataset).where(
            dataset.c.state == DatasetState.ACTIVE.value, dataset.c.used_time < before
        )
        return await self._read(query.order_by(dataset.c.sequence))

    async def leftover(self) -> list[Dataset]:
        """Returns the collected datasets whose bytes may still be there."""
        query = select(dataset).where(dataset.c.state == DatasetState.COLLECTED.value, dataset.c.uri != "")
        return await self._read(query)

    async def shares_bytes(self, sha256: str) -> bool:
        """Tells whether an active dataset has these bytes."""
        query = select(dataset.c.name).where(
            dataset.c.state == DatasetState.ACTIVE.value, dataset.c.sha256 == sha256
        )
        return (await self.connection.execute(query.limit(1))).one_or_none() is not None

    async def _read(self, query: Select[Any]) -> list[Dataset]:
        return [_read_dataset(record) for record in await self.connection.execute(query)]


@dataclass(frozen=True, slots=True)
class SqlImportRepository:
    """Implements `ImportRepository`."""

    connection: AsyncConnection

    async def get(self, name: str) -> BarImport | None:
        """Returns a bulk load."""
        query = select(bar_import).where(bar_import.c.name == name)
        record = (await self.connection.execute(query)).one_or_none()
        return None if record is None else _read_import(record)

    async def save(self, value: BarImport) -> None:
        """Stores a bulk load, new or changed."""
        record = {**asdict(value), "state": value.state.value, "problems": json.dumps(value.problems)}
        await _save(self.connection, bar_import, "name", record)

    async def next_running(self) -> BarImport | None:
        """Returns the bulk load that runs longest."""
        query = select(bar_import).where(bar_import.c.state == ImportState.RUNNING.value)
        record = (await self.connection.execute(query.order_by(bar_import.c.sequence).limit(1))).one_or_none()
        return None if record is None else _read_import(record)


async def _save(connection: AsyncConnection, table: Table, key: str, record: dict[str, Any]) -> None:
    statement = upsert(connection, table).values(record)
    changed = {name: statement.excluded[name] for name in record if name != key}
    await connection.execute(statement.on_conflict_do_update(index_elements=[key], set_=changed))


def _write_spec(spec: DatasetSpec) -> str:
    facts = asdict(spec)
    facts |= {name: _write_time(facts[name]) for name in ("as_of", "start_time")}
    return json.dumps(facts)


def _read_spec(text: str) -> DatasetSpec:
    facts = json.loads(text)
    # Datasets of older releases have no features of their own.
    facts |= {name: tuple(facts.get(name, ())) for name in ("symbols", "feature_views", "features")}
    facts |= {name: _read_time(facts[name]) for name in ("as_of", "start_time")}
    return DatasetSpec(**{**facts, "target_kind": TargetKind(facts["target_kind"])})


def _write_time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _read_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _read_dataset(record: Any) -> Dataset:
    return Dataset(
        record.name,
        _read_spec(record.spec),
        DatasetState(record.state),
        tuple(ViewRevision(**view) for view in json.loads(record.view_revisions)),
        record.create_time,
        record.revision,
        record.sha256,
        record.uri,
        record.row_count,
        record.progress,
        record.error,
        None if record.universe is None else _read_universe(record.universe),
        record.used_time,
    )


def _write_universe(universe: Universe) -> str:
    return json.dumps(asdict(universe), default=datetime.isoformat)


def _read_universe(text: str) -> Universe:
    facts = json.loads(text)
    facts |= {name: _read_time(facts[name]) for name in ("first_event_time", "last_event_time")}
    facts |= {name: tuple(facts[name]) for name in ("without_bars", "unadjusted")}
    for name in ("began", "ended"):
        edges = [(edge["symbol"], datetime.fromisoformat(edge["event_time"])) for edge in facts[name]]
        facts[name] = tuple(SymbolEdge(*edge) for edge in edges)
    return Universe(**facts)


def _read_import(record: Any) -> BarImport:
    return BarImport(
        record.name,
        record.sha256,
        ImportState(record.state),
        record.create_time,
        record.next_row,
        record.accepted_count,
        record.refused_count,
        tuple(json.loads(record.problems)),
        record.error,
    )
