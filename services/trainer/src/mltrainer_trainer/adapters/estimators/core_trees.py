"""Trees of the core: forests and histograms of scikit-learn and LightGBM, which evaluate by their library."""

import importlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from mltrainer_models import GrownTree, ModelDescription, TreesModel, pack_trees

from mltrainer_trainer.domain.learners import Fit, FitRequest
from mltrainer_trainer.domain.training_data import Floats


def _one_thread() -> AbstractContextManager[Any]:
    limits: AbstractContextManager[Any] = importlib.import_module("threadpoolctl").threadpool_limits(limits=1)
    return limits


@dataclass(frozen=True, slots=True)
class SklearnLearner:
    """Fits a tree ensemble of scikit-learn on one thread."""

    estimator_class: Any

    def __call__(self, request: FitRequest) -> Fit:
        """Fits."""
        estimator = self.estimator_class(**request.parameters, random_state=request.seed % 2**32)
        with _one_thread():
            estimator.fit(request.matrix, request.labels)
        return SklearnFit(estimator)


@dataclass(frozen=True, slots=True)
class SklearnFit:
    """A fitted forest or histogram gradient boosting of scikit-learn."""

    estimator: Any

    def predict(self, matrix: Floats) -> Floats:
        """Predicts one number per row, on one thread."""
        with _one_thread():
            return np.asarray(self.estimator.predict(matrix))

    def to_model(self, description: ModelDescription) -> TreesModel:
        """Takes the trees out."""
        if hasattr(self.estimator, "estimators_"):
            trees = [_forest_tree(member.tree_) for member in self.estimator.estimators_]
            return pack_trees(description, trees, divisor=float(len(trees)), single_precision=True)
        grown = [histogram_tree(group[0].nodes) for group in self.estimator._predictors]  # noqa: SLF001 - no public way to the trees
        base = float(self.estimator._baseline_prediction[0, 0])  # noqa: SLF001 - no public way to the first term
        return pack_trees(description, grown, base=base)


def _forest_tree(tree: Any) -> GrownTree:
    return GrownTree(
        feature=tree.feature.astype(np.int64),
        threshold=tree.threshold.astype(np.float64),
        left=tree.children_left.astype(np.int64),
        right=tree.children_right.astype(np.int64),
        value=tree.value[:, 0, 0].astype(np.float64),
    )


def histogram_tree(nodes: Any) -> GrownTree:
    """Takes one tree of a histogram gradient boosting out."""
    is_leaf = nodes["is_leaf"].astype(bool)
    return GrownTree(
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"].astype(np.float64),
        left=np.where(is_leaf, -1, nodes["left"].astype(np.int64)),
        right=np.where(is_leaf, -1, nodes["right"].astype(np.int64)),
        value=nodes["value"].astype(np.float64),
    )


@dataclass(frozen=True, slots=True)
class LightGbmLearner:
    """Fits gradient boosting of LightGBM; the catalogue fixes one thread and deterministic histograms."""

    train: Any
    dataset_class: Any

    def __call__(self, request: FitRequest) -> Fit:
        """Fits."""
        parameters = {**request.parameters, "seed": request.seed % 2**31}
        rounds = parameters.pop("num_iterations")
        dataset = self.dataset_class(request.matrix, request.labels, params=parameters)
        return LightGbmFit(self.train(parameters, dataset, rounds))


@dataclass(frozen=True, slots=True)
class LightGbmFit:
    """A fitted booster."""

    booster: Any

    def predict(self, matrix: Floats) -> Floats:
        """Predicts one number per row, on one thread."""
        return np.asarray(self.booster.predict(matrix, num_threads=1))

    def to_model(self, description: ModelDescription) -> TreesModel:
        """Reads the trees from the booster's own text, which spells every number exactly."""
        return pack_trees(description, boosted_trees(self.booster))


def boosted_trees(booster: Any) -> list[GrownTree]:
    """Reads the trees of a booster of LightGBM."""
    sections = booster.model_to_string().split("\n\nend of trees")[0].split("\nTree=")[1:]
    return [_boosted_tree(_fields(section)) for section in sections]


def _fields(section: str) -> Mapping[str, str]:
    return dict(line.split("=", 1) for line in section.splitlines() if "=" in line)


def _boosted_tree(fields: Mapping[str, str]) -> GrownTree:
    """Numbers the inner nodes first, then the leaves, which the text refers to by their complement."""
    leaves = int(fields["num_leaves"])
    inner = leaves - 1
    values = np.array(fields["leaf_value"].split(), dtype=np.float64)
    if not inner:
        nothing = np.full(1, -1, dtype=np.int64)
        return GrownTree(np.zeros(1, dtype=np.int64), np.zeros(1), nothing, nothing, values)

    def children(key: str) -> Any:
        side = np.array(fields[key].split(), dtype=np.int64)
        return np.concatenate((np.where(side < 0, inner + ~side, side), np.full(leaves, -1)))

    return GrownTree(
        feature=np.concatenate(
            (np.array(fields["split_feature"].split(), dtype=np.int64), np.zeros(leaves, int))
        ),
        threshold=np.concatenate((np.array(fields["threshold"].split(), dtype=np.float64), np.zeros(leaves))),
        left=children("left_child"),
        right=children("right_child"),
        value=np.concatenate((np.zeros(inner), values)),
    )
