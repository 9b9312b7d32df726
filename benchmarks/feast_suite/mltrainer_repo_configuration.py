"""What Feast's universal test-suite is run over: `FULL_REPO_CONFIGS_MODULE=mltrainer_repo_configuration`.

Feast's suite imports this module by name and reads the two lists; `run.py` puts it on the path.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
from feast import FileSource
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.repo_config import FeastConfigBaseModel
from mltrainer_feature.adapters.feast_offline import PolarsOfflineStoreConfig
from mltrainer_testkit.redis import redis_server
from tests.universal.feature_repos.universal.data_sources.file import FileDataSourceCreator
from tests.universal.feature_repos.universal.online_store_creator import OnlineStoreCreator

# The suite says that every row was created when the test began, after the entity rows: honouring that,
# as the store does by default, every feature is null. The suite expects Feast's default.
SETTINGS = {"only_what_was_known": False}


class PolarsDataSourceCreator(FileDataSourceCreator):
    """Sources of one Parquet file each."""

    def create_offline_store_config(self) -> FeastConfigBaseModel:
        return PolarsOfflineStoreConfig(**SETTINGS)


class PolarsDirectorySourceCreator(FileDataSourceCreator):
    """Sources of one directory each, joined with the smallest memory limit."""

    def create_data_source(
        self,
        df: pd.DataFrame,
        destination_name: str,
        created_timestamp_column: str | None = "created_ts",
        field_mapping: dict[str, str] | None = None,
        timestamp_field: str | None = "ts",
        **_: Any,
    ) -> DataSource:
        directory = tempfile.mkdtemp(prefix=f"{self.project_name}_{destination_name}")
        self.dirs.append(directory)
        df.to_parquet(Path(directory) / "rows.parquet")
        return FileSource(
            file_format=ParquetFormat(),
            path=directory,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            field_mapping=field_mapping or {"ts_1": "ts"},
        )

    def create_offline_store_config(self) -> FeastConfigBaseModel:
        return PolarsOfflineStoreConfig(**SETTINGS, memory_limit_mib=1)


AVAILABLE_OFFLINE_STORES = [("local", PolarsDataSourceCreator), ("local", PolarsDirectorySourceCreator)]


class GuardedRedisCreator(OnlineStoreCreator):
    """A Redis of the suite's own, started from the machine's executable."""

    def __init__(self, project_name: str, **_: Any) -> None:
        super().__init__(project_name)
        self._directory = tempfile.TemporaryDirectory(prefix="mltrainer-suite-")
        self._stack = ExitStack()

    def create_online_store(self) -> dict[str, str]:
        server = self._stack.enter_context(redis_server(Path(self._directory.name)))
        kind = "mltrainer_feature.adapters.feast_online.GuardedRedisOnlineStore"
        return {"type": kind, "url": server.url}

    def teardown(self) -> None:
        self._stack.close()
        self._directory.cleanup()


AVAILABLE_ONLINE_STORES = {"mltrainer_redis": ({}, GuardedRedisCreator)}
