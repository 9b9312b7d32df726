"""Gradient boosting of LightGBM, XGBoost, CatBoost and NGBoost, as trees or linear models of ours."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from mltrainer_models import GrownTree, LinearModel, Link, TreesModel, pack_trees

from mltrainer_trainer.adapters.estimators.conventions import (
    UNDESCRIBED,
    ConvertedFit,
    RowModel,
    foreign_code,
    import_quietly,
    prepare,
)
from mltrainer_trainer.adapters.estimators.core_trees import boosted_trees
from mltrainer_trainer.adapters.estimators.sklearn_trees import sklearn_tree
from mltrainer_trainer.domain.catalogue import CatalogueEntry, Task
from mltrainer_trainer.domain.learners import FitRequest
from mltrainer_trainer.domain.training_data import Floats, Integers


def group_sizes(groups: Integers) -> Integers:
    """Counts the rows of each group that follow each other."""
    edges = np.flatnonzero(np.diff(groups)) + 1
    return np.diff(np.concatenate(([0], edges, [len(groups)])))


def relevance(labels: Floats, groups: Integers) -> Integers:
    """Grades the labels of each group by fifths, 0 to 4, as ranking losses want them."""
    grades = np.zeros(len(labels), np.int64)
    edges = np.concatenate(([0], np.cumsum(group_sizes(groups))))
    for start, end in pairwise(edges):
        order = np.argsort(np.argsort(labels[start:end], kind="stable"), kind="stable")
        grades[start:end] = order * 5 // max(end - start, 1)
    return grades


@dataclass(frozen=True, slots=True)
class LightGbmVariant:
    """Fits LightGBM in one of its modes."""

    entry: CatalogueEntry
    train: Any

    def __call__(self, request: FitRequest) -> ConvertedFit:
        """Fits."""
        rows = prepare(self.entry, request)
        # GOSS draws its sample by thread, so the sample depends on their number.
        threads = 1 if request.parameters.get("data_sample_strategy") == "goss" else request.threads
        parameters = {**request.parameters, "seed": request.seed % 2**31, "num_threads": threads}
        rounds = parameters.pop("num_iterations")
        labels, groups = rows.labels, None
        if self.entry.task is Task.RANKING:
            labels, groups = relevance(labels, rows.groups).astype(np.float64), group_sizes(rows.groups)
        library = import_quietly("lightgbm")
        dataset = library.Dataset(rows.matrix, labels, group=groups, params=parameters)
        booster = self.train(parameters, dataset, rounds)
        trees = boosted_trees(booster)
        averages = parameters.get("boosting") == "rf"
        model = pack_trees(
            UNDESCRIBED, trees, divisor=float(len(trees)) if averages else 1.0, link=Link(self.entry.link)
        )
        return ConvertedFit(model, lambda matrix: np.asarray(booster.predict(matrix, num_threads=1)))


@dataclass(frozen=True, slots=True)
class XgboostLearner:
    """Fits XGBoost; its own JSON tells the trees, or the weights of its linear booster."""

    entry: CatalogueEntry
    train: Any

    def __call__(self, request: FitRequest) -> ConvertedFit:
        """Fits."""
        rows = prepare(self.entry, request)
        library = import_quietly("xgboost")
        parameters = {**request.parameters, "seed": request.seed % 2**31, "nthread": request.threads}
        rounds = int(str(parameters.pop("num_boost_round")))
        data = library.DMatrix(rows.matrix, label=rows.labels, nthread=request.threads)
        if self.entry.task is Task.RANKING:
            data = library.DMatrix(
                rows.matrix, label=relevance(rows.labels, rows.groups), nthread=request.threads
            )
            data.set_group(group_sizes(rows.groups))
        booster = self.train(parameters, data, rounds)

        def by_library(matrix: Floats) -> Floats:
            with foreign_code():
                scaled = library.DMatrix(rows.standardiser.apply(matrix), nthread=1)
                return np.asarray(booster.predict(scaled), np.float64)

        return ConvertedFit(self._convert(booster, rows.standardiser), by_library)

    def _convert(self, booster: Any, standardiser: Any) -> RowModel:
        learner = json.loads(booster.save_raw("json"))["learner"]
        gradient_booster, link = learner["gradient_booster"], Link(self.entry.link)
        base = float(learner["learner_model_param"]["base_score"].strip("[]"))
        if link is Link.LOGISTIC:
            base = float(np.log(base / (1.0 - base)))
        if gradient_booster["name"] == "gblinear":
            weights = np.asarray(gradient_booster["model"]["weights"], np.float64)
            return LinearModel(
                UNDESCRIBED, standardiser.mean, standardiser.scale, weights[:-1], base + weights[-1], link
            )
        model = gradient_booster.get("gbtree", gradient_booster)["model"]
        shares = gradient_booster.get("weight_drop", [1.0] * len(model["trees"]))
        trees = [_xgboost_tree(tree, share) for tree, share in zip(model["trees"], shares, strict=True)]
        return pack_trees(UNDESCRIBED, trees, base=base, single_precision=True, link=link)


def _xgboost_tree(tree: Mapping[str, Any], share: float) -> GrownTree:
    """Goes left below the threshold, where our trees go right above it: the number before it separates."""
    left = np.asarray(tree["left_children"], np.int64)
    conditions = np.asarray(tree["split_conditions"], np.float32)
    is_leaf = left < 0
    before = np.nextafter(conditions, np.float32(-np.inf)).astype(np.float64)
    return GrownTree(
        feature=np.asarray(tree["split_indices"], np.int64),
        threshold=np.where(is_leaf, 0.0, before),
        left=left,
        right=np.asarray(tree["right_children"], np.int64),
        value=np.where(is_leaf, conditions.astype(np.float64) * share, 0.0),
    )


@dataclass(frozen=True, slots=True)
class CatboostLearner:
    """Fits CatBoost; its own JSON tells the symmetric trees."""

    entry: CatalogueEntry
    estimator_class: Any

    def __call__(self, request: FitRequest) -> ConvertedFit:
        """Fits."""
        rows = prepare(self.entry, request)
        library = import_quietly("catboost")
        estimator = self.estimator_class(
            **request.parameters,
            random_seed=request.seed % 2**31,
            thread_count=request.threads,
            allow_writing_files=False,
            logging_level="Silent",
        )
        if self.entry.task is Task.RANKING:
            labels = relevance(rows.labels, rows.groups).astype(np.float64)
            estimator.fit(library.Pool(rows.matrix, labels, group_id=rows.groups))
        else:
            estimator.fit(rows.matrix, rows.labels)

        def by_library(matrix: Floats) -> Floats:
            if self.entry.task is Task.RANKING:
                return np.asarray(estimator.predict(matrix, thread_count=1), np.float64)
            kind = "Probability" if self.entry.task is Task.CLASSIFICATION else "RawFormulaVal"
            found = np.asarray(estimator.predict(matrix, prediction_type=kind, thread_count=1), np.float64)
            return found[:, 1] if found.ndim == 2 else found

        return ConvertedFit(_catboost_model(estimator, Link(self.entry.link)), by_library)


def _catboost_model(estimator: Any, link: Link) -> TreesModel:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        estimator.save_model(str(path), format="json")
        document = json.loads(path.read_bytes())
    scale, bias = document["scale_and_bias"]
    trees = [_symmetric_tree(tree, scale) for tree in document["oblivious_trees"]]
    return pack_trees(UNDESCRIBED, trees, base=float(bias[0]), single_precision=True, link=link)


def _symmetric_tree(tree: Mapping[str, Any], scale: float) -> GrownTree:
    """Numbers the nodes level by level; the split of level l decides bit l of the leaf's number."""
    splits = tree["splits"]
    depth, leaves = len(splits), np.asarray(tree["leaf_values"], np.float64) * scale
    count = 2 ** (depth + 1) - 1
    feature, threshold = np.zeros(count, np.int64), np.zeros(count)
    left, right, value = np.full(count, -1), np.full(count, -1), np.zeros(count)
    for level, split in enumerate(splits):
        nodes = np.arange(2**level - 1, 2 ** (level + 1) - 1)
        feature[nodes], threshold[nodes] = split["float_feature_index"], split["border"]
        left[nodes], right[nodes] = 2 * nodes + 1, 2 * nodes + 2
    for place in range(2**depth):
        bits = [(place >> (depth - 1 - level)) & 1 for level in range(depth)]
        value[2**depth - 1 + place] = leaves[sum(bit << level for level, bit in enumerate(bits))]
    return GrownTree(feature, threshold, left, right, value)


@dataclass(frozen=True, slots=True)
class NgboostLearner:
    """Fits natural gradient boosting; the first parameter of its distribution is what is predicted."""

    entry: CatalogueEntry
    estimator_class: Any

    def __call__(self, request: FitRequest) -> ConvertedFit:
        """Fits."""
        rows = prepare(self.entry, request)
        parameters = dict(request.parameters)
        distribution = getattr(import_quietly("ngboost.distns"), str(parameters.pop("distribution")))
        seed = request.seed % 2**31
        tree = import_quietly("sklearn.tree").DecisionTreeRegressor(max_depth=3, random_state=seed)
        estimator = self.estimator_class(
            Dist=distribution, Base=tree, random_state=seed, verbose=False, **parameters
        )
        is_classifier = self.entry.task is Task.CLASSIFICATION
        estimator.fit(rows.matrix, rows.labels.astype(np.int64) if is_classifier else rows.labels)

        def by_library(matrix: Floats) -> Floats:
            with foreign_code():
                if is_classifier:
                    return np.asarray(estimator.predict_proba(matrix)[:, 1])
                return np.asarray(estimator.pred_dist(matrix).params["loc"])

        members = zip(estimator.base_models, estimator.scalings, estimator.col_idxs, strict=True)
        trees = [
            sklearn_tree(
                models[0].tree_,
                -estimator.learning_rate * scaling * models[0].tree_.value[:, 0, 0],
                columns,
            )
            for models, scaling, columns in members
        ]
        model = pack_trees(
            UNDESCRIBED,
            trees,
            base=float(estimator.init_params[0]),
            single_precision=True,
            link=Link(self.entry.link),
        )
        return ConvertedFit(model, by_library)
