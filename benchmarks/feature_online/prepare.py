"""Makes a Feast repository and fills Redis through our plug-in: `prepare.py FOLDER REDIS_PORT SYMBOLS`.

The rows lie as Feast's own Redis store lays them out, so every server of the comparison reads the same ones.
"""

import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64

VIEWS, FEATURES = 5, 10
PEER = """project: bench
provider: local
registry: {registry}
online_store:
  type: redis
  connection_string: 127.0.0.1:{port}
offline_store:
  type: file
entity_key_serialization_version: 3
telemetry: false
"""


def main() -> None:
    folder, port, symbols = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    registry = folder / "registry.db"
    url = f"redis://127.0.0.1:{port}"
    store = FeatureStore(
        config=RepoConfig(
            project="bench",
            provider="local",
            registry=str(registry),
            online_store={
                "type": "mltrainer_feature.adapters.feast_online.GuardedRedisOnlineStore",
                "url": url,
            },
            entity_key_serialization_version=3,
        )
    )
    symbol = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
    source = FileSource(path=str(folder / "none.parquet"), timestamp_field="event_time")
    views = [
        FeatureView(
            name=f"view_{number}",
            entities=[symbol],
            ttl=timedelta(days=5),
            schema=[Field(name=f"feature_{number}_{place}", dtype=Float64) for place in range(FEATURES)],
            source=source,
        )
        for number in range(VIEWS)
    ]
    store.apply([symbol, *views])
    draw, now = random.Random(7), datetime.now(UTC).replace(microsecond=0) - timedelta(hours=6)
    for view in views:
        rows = []
        for number in range(symbols):
            key = EntityKey(join_keys=["symbol"], entity_values=[Value(string_val=f"SYM{number}")])
            values = {field.name: Value(double_val=draw.gauss(0, 1)) for field in view.features}
            rows.append((key, values, now, now))
        store._get_provider().online_write_batch(store.config, view, rows, None)  # noqa: SLF001 - Feast has no public call
    peer = folder / "peer"
    peer.mkdir()
    (peer / "feature_store.yaml").write_text(PEER.format(registry=registry, port=port))


if __name__ == "__main__":
    main()
