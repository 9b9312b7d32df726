"""Does one point-in-time join through Feast and reports what it cost, in the environment of either store."""

import argparse
import hashlib
import json
import resource
import time
import warnings
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.types import Float64

STORES = {
    "ours": {"type": "mltrainer_feature.adapters.feast_offline.PolarsOfflineStore"},
    "duckdb": {"type": "duckdb"},
    "dask": {"type": "dask"},
}


def open_store(folder: Path, store: str, max_age_s: int, settings: dict) -> tuple[FeatureStore, list[str]]:
    features = list(pd.read_parquet(folder / "features.txt.parquet")["name"])
    config = RepoConfig(
        project="bench",
        provider="local",
        registry={"registry_type": "file", "path": str(folder / f"{store}.registry")},
        online_store={"type": "sqlite", "path": str(folder / f"{store}.db")},
        offline_store={**STORES[store], **settings},
        entity_key_serialization_version=3,
    )
    opened = FeatureStore(config=config)
    symbol = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
    view = FeatureView(
        name="bars",
        entities=[symbol],
        ttl=timedelta(seconds=max_age_s),
        schema=[Field(name=name, dtype=Float64) for name in features],
        source=FileSource(
            path=str(folder / "history.parquet"),
            timestamp_field="event_time",
            created_timestamp_column="created_time",
        ),
    )
    opened.apply([symbol, view])
    return opened, [f"bars:{name}" for name in features]


def digest(table: pa.Table, features: list[str]) -> str:
    """Says which values came out, whatever the order of the rows."""
    order = np.argsort(table["label"].to_numpy())
    total = hashlib.sha256()
    for name in features:
        values = np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=np.float64)[order]
        total.update(np.where(np.isnan(values), np.float64("nan"), values).tobytes())
    return total.hexdigest()[:16]


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("store", choices=STORES)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--max-age-s", type=int, default=0)
    parser.add_argument("--memory-limit-mib", type=int)
    parser.add_argument("--to-files", action="store_true", help="entity rows from files, result to files")
    parser.add_argument("--address-space-gib", type=float)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.address_space_gib:
        limit = int(options.address_space_gib * 1024**3)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    settings = {"memory_limit_mib": options.memory_limit_mib} if options.memory_limit_mib else {}
    store, references = open_store(options.folder, options.store, options.max_age_s, settings)
    path = options.folder / "entities.parquet"
    entities = str(path) if options.to_files else pd.read_parquet(path)
    if options.rows and not options.to_files:
        entities = entities.head(options.rows).copy()
    before_mb, cpu, wall = peak_mb(), cpu_s(), time.perf_counter()
    job = store.get_historical_features(
        entity_df=entities, features=references, filter_by_created_timestamp=True
    )
    if options.to_files:
        job.persist(SavedDatasetFileStorage(str(options.folder / "result")), allow_overwrite=True)
        rows, values = -1, ""
    else:
        table = job.to_arrow()
        rows = table.num_rows
    cost = {"cpu_s": cpu_s() - cpu, "wall_s": time.perf_counter() - wall, "peak_mb": peak_mb()}
    if not options.to_files:
        values = digest(table, [name.split(":")[1] for name in references])
    print(json.dumps({**cost, "before_mb": before_mb, "rows": rows, "values": values}))


if __name__ == "__main__":
    main()
