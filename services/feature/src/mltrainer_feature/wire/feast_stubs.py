"""Loads the protobuf stubs that Feast's wheel ships, without importing Feast.

Feast's own package imports pandas, dask and more: seconds of CPU time and 150 MB that serving does not
need. Its stubs need only protobuf and grpc. They are loaded as if their parent packages were empty, and
leave nothing behind in `sys.modules`, so that Feast itself can be imported later in the same process.
"""

import importlib
import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

_PACKAGES = ("feast", "feast.protos", "feast.protos.feast")
_PREFIX = "feast.protos.feast"
_MODULES = (
    "serving.ServingService_pb2",
    "serving.ServingService_pb2_grpc",
    "types.Value_pb2",
    "core.Registry_pb2",
)


def _load() -> dict[str, Any]:
    if "feast" in sys.modules:
        return _import_stubs()
    spec = importlib.util.find_spec("feast")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("feast is not installed: its wheel ships the serving contract")
    root = Path(spec.origin).parent
    for name in _PACKAGES:
        package = ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    try:
        return _import_stubs()
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "feast"]:
            del sys.modules[name]


def _import_stubs() -> dict[str, Any]:
    names = (
        "serving.ServingService_pb2",
        "serving.ServingService_pb2_grpc",
        "types.Value_pb2",
        "core.Registry_pb2",
    )
    return {name: importlib.import_module(f"{_PREFIX}.{name}") for name in names}


_stubs = _load()

FEAST_VERSION = version("feast")
serving_pb2: Any = _stubs["serving.ServingService_pb2"]
serving_pb2_grpc: Any = _stubs["serving.ServingService_pb2_grpc"]
value_pb2: Any = _stubs["types.Value_pb2"]
registry_pb2: Any = _stubs["core.Registry_pb2"]
