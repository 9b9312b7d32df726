"""The online store that `feature_store.yaml` names."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from feast import Entity, FeatureView, RepoConfig
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.key_encoding_utils import serialize_entity_key, serialize_entity_key_prefix
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel
from feast.utils import make_tzaware
from pydantic import PositiveInt, StrictStr
from redis import Redis

from mltrainer_feature.adapters.redis_layout import WRITE_SCRIPT, guard, guard_field, mark_key
from mltrainer_feature.domain.errors import OnlineStoreLostError
from mltrainer_feature.wire.online_format import (
    StoredTimes,
    feature_field,
    key_project,
    normal_cell,
    time_cell,
    time_field,
)

Row = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
Answer = tuple[datetime | None, dict[str, Value] | None]
_EPOCH = datetime.fromtimestamp(0, UTC)
_MICROSECOND = timedelta(microseconds=1)
_SCAN_COUNT = 1_000
_LATEST_KEY_VERSION = 3
_NO_ENTITY = EntityKey(join_keys=[DUMMY_ENTITY_ID], entity_values=[Value(string_val=DUMMY_ENTITY_VAL)])


class GuardedRedisOnlineStoreConfig(FeastConfigBaseModel):
    """The settings under `online_store` in `feature_store.yaml`."""

    type: Literal["mltrainer_feature.adapters.feast_online.GuardedRedisOnlineStore"] = (
        "mltrainer_feature.adapters.feast_online.GuardedRedisOnlineStore"
    )
    url: StrictStr = "redis://localhost:6379"
    """`redis://[user:password@]host[:port][/database]` or `rediss://…`."""
    timeout_s: PositiveInt = 5
    """How long Redis may take to answer."""


class GuardedRedisOnlineStore(OnlineStore):
    """Keeps the newest row of each entity, by event time, then by created time, whatever order they come in.

    `feast apply` marks the project's rows as kept. A Redis that lost them has no mark, and reads raise
    `OnlineStoreLostError` until rows are applied and materialized again.
    """

    _client: Redis | None = None
    _times = StoredTimes()

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[Row],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Writes rows, each unless a newer one of its entity is there."""
        client, layout = self._open(config), _ViewLayout(config, table)
        write = client.register_script(WRITE_SCRIPT)
        with client.pipeline(transaction=False) as pipeline:
            for entity_key, values, event_time, created_time in data:
                arguments = layout.arguments(values, event_time, created_time)
                write(keys=[layout.key(entity_key)], args=arguments, client=pipeline)
            pipeline.execute()
        if progress:
            progress(len(data))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[Answer]:
        """Reads the newest row of each entity; None for one that has none.

        Raises:
            OnlineStoreLostError: Redis has lost the project's rows, or was never given any.
        """
        client, layout = self._open(config), _ViewLayout(config, table)
        names = requested_features or [feature.name for feature in table.features]
        fields = [layout.time_field, *(feature_field(layout.name, name) for name in names)]
        mark = mark_key(config.project)
        with client.pipeline(transaction=False) as pipeline:
            pipeline.hget(mark, "epoch")
            for entity_key in entity_keys:
                pipeline.hmget(layout.key(entity_key), fields)
            pipeline.hget(mark, "epoch")
            before, *rows, after = pipeline.execute()
        if before is None or after != before:
            raise OnlineStoreLostError(config.project)
        return [self._answer(names, row) for row in rows]

    def _answer(self, names: Sequence[str], row: Sequence[bytes | None]) -> Answer:
        [time_us] = self._times(row[:1])
        if time_us is None:
            return None, None
        values = {name: Value.FromString(cell or b"") for name, cell in zip(names, row[1:], strict=True)}
        return _EPOCH + time_us * _MICROSECOND, values

    def update(  # noqa: PLR0917 - Feast's signature
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],  # noqa: ARG002 - as above
        entities_to_delete: Sequence[Entity],  # noqa: ARG002 - as above
        entities_to_keep: Sequence[Entity],  # noqa: ARG002 - as above
        partial: bool,  # noqa: ARG002 - as above
    ) -> None:
        """Marks the project's rows as kept, and drops those of views that are gone."""
        client = self._open(config)
        client.hsetnx(mark_key(config.project), "epoch", secrets.token_hex(8))
        for table in tables_to_delete:
            layout = _ViewLayout(config, table)
            fields = [layout.time_field, layout.guard_field]
            fields += [feature_field(layout.name, feature.name) for feature in table.features]
            with client.pipeline(transaction=False) as pipeline:
                for key in layout.all_keys(client):
                    pipeline.hdel(key, *fields)
                pipeline.execute()

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        """Drops the rows of views, and the project's mark."""
        client = self._open(config)
        self.update(config, tables, [], entities, [], partial=False)
        client.delete(mark_key(config.project))
        client.close()
        self._client = None

    def _open(self, config: RepoConfig) -> Redis:
        settings: Any = config.online_store
        if self._client is None:
            self._client = Redis.from_url(settings.url, socket_timeout=settings.timeout_s)
        return self._client


class _ViewLayout:
    """Where the rows of a view lie."""

    def __init__(self, config: RepoConfig, table: FeatureView) -> None:
        if config.entity_key_serialization_version < _LATEST_KEY_VERSION:
            raise ValueError("set entity_key_serialization_version: 3 in feature_store.yaml")
        self.name = compute_versioned_name(table, config.registry.enable_online_feature_view_versioning)
        self.time_field = time_field(self.name)
        self.guard_field = guard_field(self.name)
        self._prefix = serialize_entity_key_prefix(list(table.join_keys))
        self._project = config.project.encode()

    def key(self, entity_key: EntityKey) -> bytes:
        # A push to a view without entity gives no key, but reads ask for Feast's placeholder.
        if not entity_key.join_keys:
            entity_key = _NO_ENTITY
        return serialize_entity_key(entity_key, _LATEST_KEY_VERSION) + self._project

    def arguments(
        self, values: dict[str, Value], event_time: datetime, created_time: datetime | None
    ) -> list[bytes]:
        """Returns what the write script takes after the key."""
        event_us = (make_tzaware(event_time) - _EPOCH) // _MICROSECOND
        created_us = None
        if created_time is not None and created_time == created_time:  # noqa: PLR0124 - NaT differs from itself
            created_us = (make_tzaware(created_time) - _EPOCH) // _MICROSECOND
        cells = [self.time_field, time_cell(event_us)]
        for name, value in values.items():
            cells += (feature_field(self.name, name), normal_cell(value.SerializeToString()))
        return [self.guard_field, guard(event_us, created_us), b"", *cells]

    def all_keys(self, client: Redis) -> Iterator[bytes]:
        """Finds the keys of the project's entities of this kind."""
        for key in client.scan_iter(_literally(self._prefix) + b"*", count=_SCAN_COUNT):
            # Another project's name may end like this one's.
            if key_project(key) == self._project:
                yield key


def _literally(text: bytes) -> bytes:
    return b"".join(b"\\" + bytes([byte]) if byte in b"\\*?[]" else bytes([byte]) for byte in text)
