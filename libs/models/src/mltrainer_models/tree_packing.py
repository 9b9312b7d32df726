"""Turns trees as libraries keep them into the arrays of a `TreesModel`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mltrainer_models.description import ModelDescription
from mltrainer_models.links import Link
from mltrainer_models.trees import TreesModel

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class GrownTree:
    """One tree whose root is its first node; a leaf has -1 as both children."""

    feature: Integers
    threshold: Floats
    left: Integers
    right: Integers
    value: Floats


def pack_trees(
    description: ModelDescription,
    trees: Sequence[GrownTree],
    *,
    base: float = 0.0,
    divisor: float = 1.0,
    single_precision: bool = False,
    link: Link = Link.IDENTITY,
) -> TreesModel:
    """Lays trees out level by level, both children of a node side by side and after it."""
    starts = np.cumsum([0, *(len(tree.left) for tree in trees)])[:-1]
    left = np.concatenate([_moved(tree.left, start) for tree, start in zip(trees, starts, strict=True)])
    right = np.concatenate([_moved(tree.right, start) for tree, start in zip(trees, starts, strict=True)])
    order, depth = _by_level(starts, left, right)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    is_leaf = left[order] < 0
    own = np.arange(len(order))
    return TreesModel(
        description=description,
        roots=place[starts].astype(np.int32),
        feature=np.where(is_leaf, 0, np.concatenate([tree.feature for tree in trees])[order]).astype(
            np.int32
        ),
        threshold=np.where(is_leaf, 0.0, np.concatenate([tree.threshold for tree in trees])[order]),
        left=np.where(is_leaf, own, place[left[order]]).astype(np.int32),
        value=np.where(is_leaf, np.concatenate([tree.value for tree in trees])[order], 0.0),
        base=base,
        divisor=divisor,
        depth=depth,
        single_precision=single_precision,
        link=link,
    )


def _moved(children: Integers, start: int) -> Integers:
    return np.where(children < 0, -1, children + start)


def _by_level(roots: Integers, left: Integers, right: Integers) -> tuple[Integers, int]:
    levels = [roots]
    while (parents := levels[-1][left[levels[-1]] >= 0]).size:
        levels.append(np.column_stack((left[parents], right[parents])).ravel())
    return np.concatenate(levels), len(levels) - 1
