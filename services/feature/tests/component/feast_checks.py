"""What the claims about the stores share: a feature repository in a folder, and a run through all claims."""

import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from feast import Entity, FeatureStore, RepoConfig, ValueType

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SYMBOL = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
_Bench = TypeVar("_Bench")


def open_store(folder: Path, project: str = "checks", **stores: Mapping[str, Any]) -> FeatureStore:
    """Opens a repository with some stores; its registry lies in the folder."""
    return FeatureStore(
        config=RepoConfig(
            project=project,
            provider="local",
            registry=str(folder / f"{project}.db"),
            entity_key_serialization_version=3,
            repo_path=str(folder),
            **stores,
        )
    )


def claims(module: Mapping[str, Any], bench: type[_Bench]) -> list[Callable[[_Bench], None]]:
    """Finds the functions of a module that take a bench and nothing else."""
    return [
        item
        for item in module.values()
        if callable(item) and list(getattr(item, "__annotations__", {}).items())[:1] in _takes(bench)
        and len(item.__annotations__) == 2 and item.__annotations__["return"] is None
    ]  # fmt: skip


def run(checks: list[Callable[[_Bench], None]], open_bench: Callable[[Path], _Bench]) -> int:
    """Checks every claim on a bench of its own and returns how many do not hold."""
    failed = 0
    for check in checks:
        with tempfile.TemporaryDirectory() as folder:
            try:
                check(open_bench(Path(folder)))
            except Exception:  # noqa: BLE001  # the next claim is checked too
                failed += 1
                sys.stderr.write(f"{check.__name__}\n{traceback.format_exc()}\n")
    sys.stdout.write(f"{len(checks) - failed} of {len(checks)} hold\n")
    return failed


def _takes(bench: type[Any]) -> list[list[tuple[str, type[Any]]]]:
    return [[("bench", bench)], [("_bench", bench)]]
