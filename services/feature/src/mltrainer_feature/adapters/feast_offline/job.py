"""What Feast's caller holds until it asks for the rows."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd  # type: ignore[import-untyped]  # no stubs in the lock
import pyarrow as pa
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.saved_dataset import SavedDatasetStorage

from mltrainer_feature.adapters.feast_offline.definitions import UnsupportedSourceError, locate_path
from mltrainer_feature.adapters.offline.writes import replace_rows


class PolarsRetrievalJob(RetrievalJob):
    """Rows that are computed when they are asked for, each time anew."""

    def __init__(
        self,
        read: Callable[[], Iterable[pa.Table]],
        repo_path: Path | None,
        *,
        full_feature_names: bool = False,
        on_demand_feature_views: Sequence[OnDemandFeatureView] = (),
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._read = read
        self._repo_path = repo_path
        self._full_feature_names = full_feature_names
        self._on_demand_feature_views = list(on_demand_feature_views)
        self._metadata = metadata

    @property
    def full_feature_names(self) -> bool:
        """Tells whether features carry the name of their view."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """Returns the views that Feast computes from the rows."""
        return self._on_demand_feature_views

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """Returns what Feast notes about the retrieval."""
        return self._metadata

    def to_batches(self) -> Iterator[pa.Table]:
        """Returns the rows in order, as many at a time as fit; on-demand features are left out."""
        yield from self._read()

    def persist(
        self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None
    ) -> None:
        """Writes the rows as Parquet, part by part where nothing is computed on demand.

        Raises:
            SavedDatasetLocationAlreadyExists: There is something, and `allow_overwrite` is false.
        """
        if not isinstance(storage, SavedDatasetFileStorage):
            raise UnsupportedSourceError(
                f"{type(storage).__name__} is no file storage: Parquet files are written"
            )
        options = storage.file_options
        location = locate_path(options.uri, self._repo_path, options.s3_endpoint_override)
        if location.exists and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=options.uri)
        rows = [self.to_arrow(timeout=timeout)] if self._on_demand_feature_views else self._read()
        replace_rows(location, rows)

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002  # Feast's signature
        return pa.concat_tables(self._read())

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._to_arrow_internal(timeout).to_pandas()
