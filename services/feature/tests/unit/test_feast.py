import subprocess
import sys

# In a process of its own: importing Feast takes seconds and changes warning filters.
CHECK = """
import sys
from mltrainer_feature.wire import feast_stubs
assert not any(name.split(".")[0] == "feast" for name in sys.modules), "the stubs left a trace"

import feast
from feast.protos.feast.serving import ServingService_pb2, ServingService_pb2_grpc
assert feast_stubs.serving_pb2.DESCRIPTOR is ServingService_pb2.DESCRIPTOR
request = ServingService_pb2.GetOnlineFeaturesRequest(feature_service="one_v1")
request.entities["symbol"].val.add().string_val = "A"
read = feast_stubs.serving_pb2.GetOnlineFeaturesRequest.FromString(request.SerializeToString())
assert read.SerializeToString() == request.SerializeToString()
assert read.entities["symbol"].val[0].string_val == "A"

from mltrainer_feature.wire import feast_definitions, feast_registry
assert feast_definitions.compile_registry() == feast_registry.REGISTRY_FILE.read_bytes(), (
    "run python -m mltrainer_feature.wire.feast_definitions"
)
import pathlib, tempfile
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "registry.db")
    path.write_bytes(feast_registry.REGISTRY_FILE.read_bytes())
    config = feast.RepoConfig(
        project="mltrainer", provider="local", registry=str(path), entity_key_serialization_version=3
    )
    store = feast.FeatureStore(config=config)
    views = {view.name: view for view in store.list_feature_views()}
    assert len(views["market_returns"].features) == 7
    assert {service.name for service in store.list_feature_services()} == {"daily_market_v1", "volatility_v1"}
print("as compiled")
"""


def test_stubs_and_compiled_registry_are_those_of_feast() -> None:
    finished = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, check=False)

    assert finished.stdout.strip().endswith("as compiled"), finished.stderr
