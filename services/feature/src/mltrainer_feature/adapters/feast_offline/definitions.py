"""Reads from Feast's objects what must be joined, and where it lies."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.fs
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID, FeatureView
from feast.infra.offline_stores.file_source import FileSource
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.utils import _get_requested_feature_views_to_features_dict

from mltrainer_feature.adapters.offline.columns import UnusableColumnError
from mltrainer_feature.adapters.offline.requests import JoinKey, Output, ViewRequest
from mltrainer_feature.adapters.offline.sources import Location


class UnsupportedSourceError(ValueError):
    """A feature view reads from something that is no Parquet file or directory."""


def locate(source: DataSource, repo_path: Path | None) -> Location:
    """Finds the files of a source.

    Raises:
        UnsupportedSourceError: The source is none of Parquet files.
    """
    if not isinstance(source, FileSource):
        raise UnsupportedSourceError(
            f"{type(source).__name__} is no FileSource: this store reads Parquet files"
        )
    if source.file_format is not None and not isinstance(source.file_format, ParquetFormat):
        raise UnsupportedSourceError(
            f"{source.name!r} has the format {source.file_format}: only Parquet is read"
        )
    return locate_path(
        source.path, repo_path, source.s3_endpoint_override or "", source.resolve_credentials()
    )


def locate_path(
    path: str,
    repo_path: Path | None,
    s3_endpoint_override: str = "",
    credentials: dict[str, str] | None = None,
) -> Location:
    """Finds a path as Feast writes it: local, relative to the feature repository, or a URI."""
    resolved = FileSource.get_uri_for_file_path(repo_path, path)
    filesystem, bare = FileSource.create_filesystem_and_path(
        str(resolved), s3_endpoint_override, resolved_credentials=credentials
    )
    return Location(filesystem or pyarrow.fs.LocalFileSystem(), bare)


def read_requests(
    feature_views: Sequence[FeatureView],
    feature_refs: Sequence[str],
    on_demand_views: Sequence[OnDemandFeatureView],
    repo_path: Path | None,
    *,
    full_feature_names: bool,
    is_created_time_honoured: bool,
    with_row_times: bool = False,
) -> list[ViewRequest]:
    """Lists what is wanted of each view, in the order of the references.

    Raises:
        UnsupportedSourceError: A view reads no Parquet.
        UnusableColumnError: A source lacks a column.
    """
    wanted, _ = _get_requested_feature_views_to_features_dict(
        list(feature_refs), list(feature_views), list(on_demand_views)
    )
    requests = [
        _read_request(view, features, repo_path, full_feature_names, is_created_time_honoured)
        for view, features in wanted.items()
    ]
    return [_with_row_time(request) for request in requests] if with_row_times else requests


def _with_row_time(request: ViewRequest) -> ViewRequest:
    row_time = Output(request.event_column, f"{request.view_name}__event_time")
    return replace(request, outputs=(*request.outputs, row_time))


def _read_request(
    view: FeatureView,
    features: Sequence[str],
    repo_path: Path | None,
    full_names: bool,
    honours_created: bool,
) -> ViewRequest:
    source = view.batch_source
    if source is None:
        raise UnsupportedSourceError(f"feature view {view.name!r} has no batch source")
    original = {new: old for old, new in source.field_mapping.items()}
    prefix = f"{view.projection.name_alias or view.name}__" if full_names else ""
    dataset = locate(source, repo_path).dataset()
    present = set(dataset.schema.names)

    def in_source(name: str) -> str:
        return original[name] if original.get(name) in present else name

    created = in_source(source.created_timestamp_column) if source.created_timestamp_column else None
    request = ViewRequest(
        view_name=view.projection.name_alias or view.name,
        dataset=dataset,
        keys=tuple(
            JoinKey(view.projection.join_key_map.get(column.name, column.name), in_source(column.name))
            for column in view.entity_columns
            if column.name != DUMMY_ENTITY_ID
        ),
        outputs=tuple(Output(in_source(name), prefix + name) for name in dict.fromkeys(features)),
        event_column=in_source(source.timestamp_field),
        created_column=created,
        max_age=view.ttl or None,
        is_created_time_honoured=honours_created,
    )
    missing = sorted(set(request.columns) - present)
    if missing:
        raise UnusableColumnError(
            f"the source of feature view {view.name!r} has no column {', '.join(missing)}"
        )
    return request
