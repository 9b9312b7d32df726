"""Ensembles of regression trees as flat arrays, whichever library grew them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mltrainer_models.arrays import decode_array, encode_array, require_lengths
from mltrainer_models.artifact import MODEL_FILE, ArtifactError, ModelArtifact
from mltrainer_models.description import ModelDescription, encode_description
from mltrainer_models.links import Link, kind_with_link

Floats = NDArray[np.float64]
MAXIMUM_DEPTH = 64
MAXIMUM_TREES = 10_000
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, eq=False, slots=True)
class TreesModel:
    """Predicts the link of (base + sum of the leaf value each tree leads to) / divisor.

    From a node the way goes to `left`, or to `left + 1` where the feature exceeds the threshold. A leaf
    leads to itself. Children come after their parents, so every way ends. `single_precision` rounds the
    features to 32 bits first, as the library does that grew the trees.
    """

    description: ModelDescription
    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: Floats
    left: NDArray[np.int32]
    value: Floats
    base: float
    divisor: float
    depth: int
    single_precision: bool
    link: Link = Link.IDENTITY
    _way: tuple[NDArray[np.intp], Floats, NDArray[np.intp]] = field(init=False, repr=False)

    KIND: ClassVar[str] = "trees"
    PREPROCESSING: ClassVar[Mapping[bool, str]] = {False: "none", True: "float32"}
    NODE_FILES: ClassVar[Mapping[str, str]] = {
        "feature.npy": "int32",
        "threshold.npy": "float64",
        "left.npy": "int32",
        "value.npy": "float64",
    }
    ROOTS_FILE: ClassVar[str] = "roots.npy"
    SCALING_FILE: ClassVar[str] = "scaling.npy"

    def __post_init__(self) -> None:
        """Prepares the arrays a prediction walks through: nothing exceeds the threshold of a leaf."""
        is_leaf = self.left == np.arange(len(self.left))
        threshold = np.where(is_leaf, np.inf, self.threshold)
        object.__setattr__(self, "_way", (self.feature.astype(np.intp), threshold, self.left.astype(np.intp)))

    def to_files(self) -> dict[str, bytes]:
        """Writes the description and the arrays."""
        preprocessing = self.PREPROCESSING[self.single_precision]
        nodes: tuple[NDArray[Any], ...] = (self.feature, self.threshold, self.left, self.value)
        return {
            MODEL_FILE: encode_description(
                self.description, kind_with_link(self.KIND, self.link), preprocessing
            ),
            self.ROOTS_FILE: encode_array(self.roots),
            self.SCALING_FILE: encode_array(np.array([self.base, self.divisor])),
            **{name: encode_array(values) for name, values in zip(self.NODE_FILES, nodes, strict=True)},
        }

    @classmethod
    def from_files(
        cls,
        description: ModelDescription,
        files: Mapping[str, bytes],
        preprocessing: str,
        link: Link = Link.IDENTITY,
    ) -> "TreesModel":
        """Reads the arrays and checks that every way through every tree ends at a leaf.

        Raises:
            ArtifactError: an array has another type or length, or points outside of itself.
        """
        roots = decode_array(cls.ROOTS_FILE, files[cls.ROOTS_FILE], "int32")
        scaling = decode_array(cls.SCALING_FILE, files[cls.SCALING_FILE], "float64")
        nodes = [decode_array(name, files[name], dtype) for name, dtype in cls.NODE_FILES.items()]
        require_lengths(tuple(cls.NODE_FILES), nodes, len(nodes[0]))
        require_lengths((cls.SCALING_FILE,), (scaling,), 2)
        if scaling[1] <= 0:
            raise ArtifactError(cls.SCALING_FILE, "the divisor is not positive")
        feature, threshold, left, value = nodes
        if len(feature) and not (feature.min() >= 0 and feature.max() < len(description.feature_names)):
            raise ArtifactError("feature.npy", "a node reads a feature the model does not have")
        single = preprocessing == cls.PREPROCESSING[True]
        depth = _depth(roots, left)
        base, divisor = float(scaling[0]), float(scaling[1])
        return cls(description, roots, feature, threshold, left, value, base, divisor, depth, single, link)

    def to_artifact(self) -> ModelArtifact:
        """Packs the files."""
        return ModelArtifact(self.to_files())

    def evaluate(self, matrix: Floats) -> Floats:
        """Predicts every row of a C-ordered matrix without missing values, each by itself."""
        rounded = matrix.astype(np.float32).astype(np.float64) if self.single_precision else matrix
        blocks = [
            self._evaluate_block(rounded[start : start + _ROWS_AT_ONCE])
            for start in range(0, len(rounded), _ROWS_AT_ONCE)
        ]
        return np.concatenate(blocks) if blocks else np.empty(0)

    def _evaluate_block(self, matrix: Floats) -> Floats:
        feature, threshold, left = self._way
        flat, width = matrix.ravel(), matrix.shape[1]
        starts = (np.arange(len(matrix)) * width)[:, np.newaxis]
        node: NDArray[np.intp] = np.tile(self.roots.astype(np.intp), (len(matrix), 1))
        for _ in range(self.depth):
            exceeds = flat.take(starts + feature.take(node)) > threshold.take(node)
            node = left.take(node) + exceeds
        leaves = self.value[node]
        leaves[:, 0] += self.base
        # A cumulative sum adds tree after tree, as the libraries do; a plain sum would add in pairs.
        return self.link.apply(np.asarray(np.cumsum(leaves, axis=1)[:, -1] / self.divisor))


def _depth(roots: NDArray[Any], left: NDArray[Any]) -> int:
    own = np.arange(len(left))
    inner = left != own
    if len(roots) > MAXIMUM_TREES:
        raise ArtifactError(TreesModel.ROOTS_FILE, f"more than {MAXIMUM_TREES} trees")
    if not len(roots) or roots.min() < 0 or roots.max() >= len(left):
        raise ArtifactError(TreesModel.ROOTS_FILE, "a root lies outside of the nodes")
    if (left < own).any() or (left[inner] + 1 >= len(left)).any():
        raise ArtifactError("left.npy", "a child lies outside of the nodes or before its parent")
    level, depth = np.unique(roots), 0
    while (parents := level[inner[level]]).size:
        depth += 1
        if depth > MAXIMUM_DEPTH:
            raise ArtifactError("left.npy", f"a tree is deeper than {MAXIMUM_DEPTH}")
        level = np.unique(np.concatenate((left[parents], left[parents] + 1)))
    return depth
