"""Trees and ensembles of trees of scikit-learn, as arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
from mltrainer_models import GrownTree, Link, TreesModel, pack_trees

from mltrainer_trainer.adapters.estimators.conventions import (
    UNDESCRIBED,
    ConvertedFit,
    build,
    foreign_code,
    prepare,
)
from mltrainer_trainer.adapters.estimators.core_trees import histogram_tree
from mltrainer_trainer.domain.catalogue import CatalogueEntry, LabelSign, Task
from mltrainer_trainer.domain.learners import FitRequest
from mltrainer_trainer.domain.training_data import Floats


@dataclass(frozen=True, slots=True)
class TreesLearner:
    """Fits and takes the trees out."""

    entry: CatalogueEntry
    estimator_class: Any

    def __call__(self, request: FitRequest) -> ConvertedFit:
        """Fits."""
        rows = prepare(self.entry, request)
        estimator = build(self.estimator_class, request.parameters, request.seed, self.entry)
        if hasattr(estimator, "n_jobs"):
            estimator.set_params(n_jobs=request.threads)
        estimator.fit(rows.matrix, rows.labels)
        convert = _CONVERSIONS[type(estimator).__name__]
        model = convert(estimator, Link(self.entry.link))

        def by_library(matrix: Floats) -> Floats:
            with foreign_code():
                if self.entry.task is Task.ANOMALY:
                    return -np.asarray(estimator.score_samples(matrix), np.float64)
                if self.entry.task is Task.CLASSIFICATION:
                    return np.asarray(estimator.predict_proba(matrix)[:, 1], np.float64)
                predictions = np.asarray(estimator.predict(matrix), np.float64)
                is_positive = self.entry.label_sign is LabelSign.POSITIVE
                return np.log(predictions) if is_positive else predictions

        return ConvertedFit(model, by_library)


def sklearn_tree(tree: Any, value: Floats, columns: Any = None) -> GrownTree:
    """Takes one tree out; `value` holds a number per node, `columns` which features it was shown."""
    feature = tree.feature.astype(np.int64)
    return GrownTree(
        feature=feature if columns is None else np.asarray(columns, np.int64)[np.maximum(feature, 0)],
        threshold=tree.threshold.astype(np.float64),
        left=tree.children_left.astype(np.int64),
        right=tree.children_right.astype(np.int64),
        value=np.asarray(value, np.float64),
    )


def _last_value(tree: Any) -> Floats:
    """Gives the mean label of a regression tree, the share of label 1 of a classification tree."""
    return np.asarray(tree.value[:, 0, -1], np.float64)


def _single(estimator: Any, link: Link) -> TreesModel:
    tree = estimator.tree_
    return pack_trees(UNDESCRIBED, [sklearn_tree(tree, _last_value(tree))], single_precision=True, link=link)


def _forest(estimator: Any, link: Link) -> TreesModel:
    trees = [sklearn_tree(member.tree_, _last_value(member.tree_)) for member in estimator.estimators_]
    return pack_trees(UNDESCRIBED, trees, divisor=float(len(trees)), single_precision=True, link=link)


def _bagging(estimator: Any, link: Link) -> TreesModel:
    members = zip(estimator.estimators_, estimator.estimators_features_, strict=True)
    trees = [sklearn_tree(member.tree_, _last_value(member.tree_), columns) for member, columns in members]
    return pack_trees(UNDESCRIBED, trees, divisor=float(len(trees)), single_precision=True, link=link)


def _gradient_boosting(estimator: Any, link: Link) -> TreesModel:
    trees = [
        sklearn_tree(member.tree_, estimator.learning_rate * _last_value(member.tree_))
        for member in estimator.estimators_[:, 0]
    ]
    first = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), np.float32))  # noqa: SLF001 - no public way to the first term
    return pack_trees(UNDESCRIBED, trees, base=float(first[0, 0]), single_precision=True, link=link)


def _histogram(estimator: Any, link: Link) -> TreesModel:
    trees = [histogram_tree(group[0].nodes) for group in estimator._predictors]  # noqa: SLF001 - no public way to the trees
    base = float(estimator._baseline_prediction[0, 0])  # noqa: SLF001 - no public way to the first term
    return pack_trees(UNDESCRIBED, trees, base=base, link=link)


def _adaboost(estimator: Any, link: Link) -> TreesModel:
    """Each tree votes for a label with its weight; twice the mean vote is the logit."""
    members = zip(estimator.estimators_, estimator.estimator_weights_, strict=False)
    trees = [
        sklearn_tree(member.tree_, np.where(_last_value(member.tree_) > 0.5, weight, -weight))
        for member, weight in members
    ]
    weights = float(estimator.estimator_weights_[: len(trees)].sum())
    return pack_trees(UNDESCRIBED, trees, divisor=weights / 2, single_precision=True, link=link)


def _isolation(estimator: Any, link: Link) -> TreesModel:
    """The shorter the ways, the stranger the row: the score is 2^(-mean way / expected way)."""
    path_length = estimator._average_path_length_per_tree  # noqa: SLF001 - computed by the library at its fit
    depths = estimator._decision_path_lengths  # noqa: SLF001 - computed by the library at its fit
    members = zip(estimator.estimators_, estimator.estimators_features_, path_length, depths, strict=True)
    trees = [
        sklearn_tree(member.tree_, -(depth + extra - 1.0), columns)
        for member, columns, extra, depth in members
    ]
    expected = _average_path_length(estimator._max_samples)  # noqa: SLF001 - the size of its samples
    divisor = len(trees) * expected / log(2.0)
    return pack_trees(UNDESCRIBED, trees, divisor=divisor, single_precision=True, link=link)


def _average_path_length(count: int) -> float:
    return 2.0 * (log(count - 1.0) + np.euler_gamma) - 2.0 * (count - 1.0) / count


_CONVERSIONS: dict[str, Callable[[Any, Link], TreesModel]] = {
    "DecisionTreeRegressor": _single,
    "DecisionTreeClassifier": _single,
    "ExtraTreeRegressor": _single,
    "ExtraTreeClassifier": _single,
    "ExtraTreesRegressor": _forest,
    "ExtraTreesClassifier": _forest,
    "RandomForestClassifier": _forest,
    "BaggingRegressor": _bagging,
    "BaggingClassifier": _bagging,
    "GradientBoostingRegressor": _gradient_boosting,
    "GradientBoostingClassifier": _gradient_boosting,
    "HistGradientBoostingRegressor": _histogram,
    "HistGradientBoostingClassifier": _histogram,
    "AdaBoostClassifier": _adaboost,
    "IsolationForest": _isolation,
}
