"""Models of river, which see one row after the other, as linear models or trees of ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mltrainer_models import GrownTree, LinearModel, Link, pack_trees

from mltrainer_trainer.adapters.estimators.conventions import (
    UNDESCRIBED,
    ConvertedFit,
    RowModel,
    Standardiser,
    foreign_code,
    prepare,
)
from mltrainer_trainer.domain.catalogue import CatalogueEntry, Task
from mltrainer_trainer.domain.learners import FitRequest
from mltrainer_trainer.domain.training_data import Floats


@dataclass(frozen=True, slots=True)
class OnlineLearner:
    """Shows the rows one after the other, oldest first."""

    entry: CatalogueEntry
    estimator_class: Any

    def __call__(self, request: FitRequest) -> ConvertedFit:
        """Fits."""
        rows = prepare(self.entry, request)
        names = [str(column) for column in range(rows.matrix.shape[1])]
        model = self.estimator_class(**request.parameters)
        is_classifier = self.entry.task is Task.CLASSIFICATION
        # Some of these models have no intercept: they learn how labels differ from their mean.
        centre = 0.0 if is_classifier else float(rows.labels.mean())
        for row, label in zip(rows.matrix.tolist(), rows.labels.tolist(), strict=True):
            model.learn_one(
                dict(zip(names, row, strict=True)), bool(label) if is_classifier else label - centre
            )

        def by_library(matrix: Floats) -> Floats:
            scaled = rows.standardiser.apply(matrix).tolist()
            with foreign_code():
                return np.array(
                    [centre + self._predict(model, dict(zip(names, row, strict=True))) for row in scaled]
                )

        return ConvertedFit(self._convert(model, names, rows.standardiser, centre), by_library)

    def _predict(self, model: Any, row: Mapping[str, float]) -> float:
        if self.entry.task is Task.CLASSIFICATION:
            return float(model.predict_proba_one(row).get(True, 0.0))
        return float(model.predict_one(row))

    def _convert(
        self, model: Any, names: Sequence[str], standardiser: Standardiser, centre: float
    ) -> RowModel:
        link = Link(self.entry.link)
        if hasattr(model, "_root"):
            return pack_trees(UNDESCRIBED, [_tree(model._root, names)], base=centre, link=link)  # noqa: SLF001 - no public way to the nodes
        weights, intercept = _coefficients(model, names)
        return LinearModel(
            UNDESCRIBED, standardiser.mean, standardiser.scale, weights, intercept + centre, link
        )


def _coefficients(model: Any, names: Sequence[str]) -> tuple[Floats, float]:
    kind = type(model).__name__
    if kind == "BayesianLinearRegression":
        model.predict_one(dict.fromkeys(names, 0.0))
        mean, places = model._m_arr, model._idx  # noqa: SLF001 - its mean weights, brought up to date by predicting
        return np.array([float(mean[places[name]]) for name in names]), 0.0
    if kind == "SoftmaxRegression":
        up, down = model.weights[True], model.weights[False]
        return np.array([float(up.get(name, 0.0) - down.get(name, 0.0)) for name in names]), 0.0
    weights = model.w if kind == "ALMAClassifier" else model.weights
    found = {name: float(weights[name]) for name in names if name in weights}
    return np.array([found.get(name, 0.0) for name in names]), float(getattr(model, "intercept", 0.0))


def _tree(root: Any, names: Sequence[str]) -> GrownTree:
    """Numbers the nodes parent first; a branch of river goes left up to its threshold."""
    nodes = [root]
    rows: list[tuple[int, float, int, int, float]] = []
    for node in nodes:
        if hasattr(node, "children"):
            first = len(nodes)
            nodes.extend(node.children)
            rows.append((names.index(node.feature), float(node.threshold), first, first + 1, 0.0))
        else:
            rows.append((0, 0.0, -1, -1, _leaf_value(node.stats)))
    feature, threshold, left, right, value = zip(*rows, strict=True)
    return GrownTree(
        np.array(feature, np.int64),
        np.array(threshold),
        np.array(left, np.int64),
        np.array(right, np.int64),
        np.array(value),
    )


def _leaf_value(stats: Any) -> float:
    if isinstance(stats, dict):
        seen = sum(stats.values())
        return float(stats.get(True, 0.0) / seen) if seen else 0.0
    return float(stats.mean.get())
