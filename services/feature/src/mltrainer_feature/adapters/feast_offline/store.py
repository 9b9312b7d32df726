"""The offline store that `feature_store.yaml` names."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd  # type: ignore[import-untyped]  # no stubs in the lock
import pyarrow as pa
import pyarrow.parquet as pq
from feast.data_source import DataSource
from feast.errors import FeastJoinKeysDuringMaterialization
from feast.feature_logging import LoggingConfig, LoggingSource
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL, FeatureView
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import (
    get_pyarrow_schema_from_batch_source,
)
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.utils import compute_non_entity_date_range
from pydantic import PositiveInt, StrictBool, StrictStr

from mltrainer_feature.adapters.feast_offline.definitions import (
    UnsupportedSourceError,
    locate,
    locate_path,
    read_requests,
)
from mltrainer_feature.adapters.feast_offline.job import PolarsRetrievalJob
from mltrainer_feature.adapters.offline.entity_rows import (
    TIME_COLUMN,
    EntityRows,
    UnusableEntityRowsError,
    rows_of_every_entity,
    rows_of_files,
    rows_of_table,
)
from mltrainer_feature.adapters.offline.join import Workspace, join_features
from mltrainer_feature.adapters.offline.pulls import Pull
from mltrainer_feature.adapters.offline.requests import check_entity_columns
from mltrainer_feature.adapters.offline.writes import append_rows, log_rows

_MIB = 1024 * 1024


class PolarsOfflineStoreConfig(FeastConfigBaseModel):
    """The settings under `offline_store` in `feature_store.yaml`."""

    type: Literal["mltrainer_feature.adapters.feast_offline.PolarsOfflineStore"] = (
        "mltrainer_feature.adapters.feast_offline.PolarsOfflineStore"
    )
    only_what_was_known: StrictBool = True
    """Leave out rows whose created time is later than the entity row's time, whatever the caller asks."""
    with_row_times: StrictBool = False
    """Add `{view}__event_time` for each view: null where there was no row at all."""
    memory_limit_mib: PositiveInt = 512
    """Joins that would take more are done in parts, on disk."""
    spill_directory: StrictStr | None = None
    """Where the parts lie; the system's directory for temporary files by default."""


class PolarsOfflineStore(OfflineStore):
    """Joins features to entity rows as of their time, from Parquet files."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(  # noqa: PLR0917  # Feast's signature
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> PolarsRetrievalJob:
        """Plans the join; it happens when the rows are asked for.

        Raises:
            UnsupportedSourceError: A view reads no Parquet.
            UnusableColumnError: A column is missing, would appear twice or cannot be joined.
            UnusableEntityRowsError: The entity rows are neither a data frame nor Parquet files.
        """
        store = config.offline_store
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        requests = read_requests(
            feature_views,
            feature_refs,
            on_demand,
            config.repo_path,
            full_feature_names=full_feature_names,
            is_created_time_honoured=store.only_what_was_known or filter_by_created_timestamp,
            with_row_times=store.with_row_times,
        )
        if entity_df is None:
            since, until = compute_non_entity_date_range(
                feature_views, start_date=start_date, end_date=end_date
            )
            entities = rows_of_every_entity(requests, since, until)
        else:
            entities = _read_entities(entity_df, config.repo_path)
        check_entity_columns(entities.schema, requests)
        workspace = Workspace(store.memory_limit_mib * _MIB, _path(store.spill_directory))
        return PolarsRetrievalJob(
            lambda: join_features(entities, requests, workspace),
            config.repo_path,
            full_feature_names=full_feature_names,
            on_demand_feature_views=on_demand,
            metadata=RetrievalMetadata(
                features=feature_refs,
                keys=[name for name in entities.schema.names if name != entities.time_column],
                min_event_timestamp=entities.earliest,
                max_event_timestamp=entities.latest,
            ),
        )

    @staticmethod
    def pull_latest_from_table_or_query(  # noqa: PLR0917  # Feast's signature
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> PolarsRetrievalJob:
        """Reads the newest row of each entity with an event time in a range: what is known today."""
        pull = _pull(
            config,
            data_source,
            [*join_key_columns, *feature_name_columns, *_times(timestamp_field, created_timestamp_column)],
            event_column=timestamp_field,
            span=(start_date, end_date),
        )
        _check_join_keys(pull, join_key_columns, data_source)
        return PolarsRetrievalJob(
            lambda: [_with_dummy(pull.newest(join_key_columns, created_timestamp_column), join_key_columns)],
            config.repo_path,
        )

    @staticmethod
    def pull_all_from_table_or_query(  # noqa: PLR0917  # Feast's signature
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> PolarsRetrievalJob:
        """Reads every row with an event time in a range, the newest last."""
        pull = _pull(
            config,
            data_source,
            [*join_key_columns, *feature_name_columns, *_times(timestamp_field, created_timestamp_column)],
            event_column=timestamp_field,
            span=(start_date, end_date),
        )
        _check_join_keys(pull, join_key_columns, data_source)
        return PolarsRetrievalJob(
            lambda: [_with_dummy(pull.in_order(created_timestamp_column), join_key_columns)], config.repo_path
        )

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,  # noqa: ARG004  # Feast's signature
        logging_config: LoggingConfig,
        registry: BaseRegistry,  # noqa: ARG004  # Feast's signature
    ) -> None:
        """Adds logged features to the directory that the feature service names."""
        destination = logging_config.destination
        if not isinstance(destination, FileLoggingDestination):
            raise UnsupportedSourceError(f"{type(destination).__name__} is no file destination")
        rows = data if isinstance(data, pa.Table) else pq.read_table(data)
        location = locate_path(destination.path, config.repo_path, destination.s3_endpoint_override)
        log_rows(location, rows, destination.partition_by)

    @staticmethod
    def offline_write_batch(
        config: RepoConfig,
        feature_view: FeatureView,
        table: pa.Table,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Adds rows to a view's source; the columns must be those of the source, in order."""
        source = feature_view.batch_source
        if source is None:
            raise UnsupportedSourceError(f"feature view {feature_view.name!r} has no batch source")
        schema, names = get_pyarrow_schema_from_batch_source(config, source)
        if names != table.column_names:
            raise ValueError(
                f"the rows have the columns {table.column_names}; the source has, in order, {names}: {schema}"
            )
        append_rows(locate(source, config.repo_path), table)
        if progress is not None:
            progress(table.num_rows)


def _times(event_column: str, created_column: str | None) -> list[str]:
    return [event_column, *([created_column] if created_column else [])]


def _pull(
    config: RepoConfig,
    source: DataSource,
    columns: Sequence[str],
    *,
    event_column: str,
    span: tuple[datetime | None, datetime | None],
) -> Pull:
    dataset = locate(source, config.repo_path).dataset()
    return Pull(dataset, tuple(dict.fromkeys(columns)), event_column, *span)


def _check_join_keys(pull: Pull, join_keys: Sequence[str], source: DataSource) -> None:
    present = set(pull.dataset.schema.names)
    if not set(join_keys) <= present:
        raise FeastJoinKeysDuringMaterialization(source.name, set(join_keys), present)


def _with_dummy(rows: pa.Table, join_keys: Sequence[str]) -> pa.Table:
    """Gives rows that belong to no entity the key under which Feast stores them."""
    if join_keys:
        return rows
    return rows.append_column(DUMMY_ENTITY_ID, pa.array([DUMMY_ENTITY_VAL] * rows.num_rows, pa.string()))


def _read_entities(given: object, repo_path: Path | None) -> EntityRows:
    if isinstance(given, str):
        return rows_of_files(locate_path(given, repo_path))
    if isinstance(given, pa.Table):
        return rows_of_table(given)
    if isinstance(given, pd.DataFrame):
        return rows_of_table(_read_frame(given))
    raise UnusableEntityRowsError(f"entity_df is {type(given).__name__}: give a data frame or a Parquet path")


def _read_frame(frame: pd.DataFrame) -> pa.Table:
    """Reads a data frame; its times may be texts."""
    if TIME_COLUMN in frame.columns and not pd.api.types.is_datetime64_any_dtype(frame[TIME_COLUMN]):
        frame = frame.assign(**{TIME_COLUMN: pd.to_datetime(frame[TIME_COLUMN], utc=True)})
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)
