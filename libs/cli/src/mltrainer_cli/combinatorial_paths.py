"""Sums up how a model did on combinatorial purged folds."""

from collections.abc import Iterator
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mltrainer.trainer.v1.resources_pb2 import CombinatorialResult


def path_title(result: "CombinatorialResult") -> str:
    """Says what was tested, or why nothing was."""
    what = f"combinatorial folds, {result.test_groups} of {result.groups} groups"
    if result.skipped_reason:
        return f"{what}: {result.skipped_reason}"
    return f"{what}: {len(result.paths)} paths of {result.folds} folds"


def values_of_paths(result: "CombinatorialResult") -> dict[str, list[float]]:
    """Gives each metric of every path, by name."""
    names = sorted({metric.name for path in result.paths for metric in path.metrics})
    return {
        name: [it.value for path in result.paths for it in path.metrics if it.name == name] for name in names
    }


def spread_of_paths(result: "CombinatorialResult") -> Iterator[dict[str, object]]:
    """Gives the lowest, mean and highest value of each metric over the paths."""
    for name, values in values_of_paths(result).items():
        yield {"metric": name, "lowest": min(values), "mean": fmean(values), "highest": max(values)}
