"""Kernel machines, neighbours, neural networks and densities of scikit-learn, as steps of numpy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from mltrainer_models import Layer, LayersModel

from mltrainer_trainer.adapters.estimators.conventions import (
    UNDESCRIBED,
    ConvertedFit,
    build,
    foreign_code,
    import_quietly,
    prepare,
)
from mltrainer_trainer.domain.catalogue import CatalogueEntry, Task
from mltrainer_trainer.domain.learners import FitRequest
from mltrainer_trainer.domain.training_data import Floats

Layers = tuple[Layer, ...]
_LOGISTIC = Layer("activation", (), (("function", "logistic"),))
_NEGATIVE = Layer("activation", (), (("function", "negative"),))
_SECOND_OF_TWO = Layer("dense", (np.array([[0.0, 1.0]]), np.zeros(1)))


@dataclass(frozen=True, slots=True)
class LayersLearner:
    """Fits and spells the prediction out as steps."""

    entry: CatalogueEntry
    estimator_class: Any

    def __call__(self, request: FitRequest) -> ConvertedFit:
        """Fits."""
        rows = prepare(self.entry, request)
        parameters = dict(request.parameters)
        if self.estimator_class.__name__ == "GaussianProcessRegressor":
            parameters = _gaussian_process_parameters(parameters)
        estimator = build(self.estimator_class, parameters, request.seed, self.entry)
        matrix = rows.matrix[:, 0] if self.estimator_class.__name__ == "IsotonicRegression" else rows.matrix
        estimator.fit(matrix, rows.labels)
        convert = _CONVERSIONS[type(estimator).__name__]
        model = LayersModel(UNDESCRIBED, (rows.standardiser.layer, *convert(estimator)))

        def by_library(unscaled: Floats) -> Floats:
            with foreign_code():
                return _predict(self.entry, estimator, rows.standardiser.apply(unscaled))

        return ConvertedFit(model, by_library)


def _predict(entry: CatalogueEntry, estimator: Any, matrix: Floats) -> Floats:
    match entry.task:
        case Task.CLASSIFICATION if hasattr(estimator, "predict_proba"):
            return np.asarray(estimator.predict_proba(matrix)[:, 1])
        case Task.CLASSIFICATION:
            return np.asarray(1.0 / (1.0 + np.exp(-np.ravel(estimator.decision_function(matrix)))))
        case Task.ANOMALY:
            return -np.ravel(estimator.decision_function(matrix))
        case _:
            return np.ravel(np.asarray(estimator.predict(matrix), np.float64))


def _kernel(vectors: Floats, function: str, gamma: float, offset: float = 0.0, degree: int = 1) -> Layer:
    settings = (
        ("degree", int(degree)),
        ("function", function),
        ("gamma", float(gamma)),
        ("offset", float(offset)),
    )
    return Layer("kernel", (np.asarray(vectors, np.float64),), settings)


def _dense(weights: Any, bias: Any) -> Layer:
    return Layer(
        "dense", (np.atleast_2d(np.asarray(weights, np.float64)), np.atleast_1d(np.asarray(bias, np.float64)))
    )


def _support_vectors(machine: Any) -> Layers:
    words = {"rbf": "rbf", "poly": "polynomial", "sigmoid": "sigmoid"}
    kernel = _kernel(
        machine.support_vectors_,
        words[machine.kernel],
        machine._gamma,  # noqa: SLF001 - what "scale" came to
        machine.coef0,
        machine.degree,
    )
    return kernel, _dense(machine.dual_coef_, machine.intercept_)


def _support_classes(machine: Any) -> Layers:
    return *_support_vectors(machine), _LOGISTIC


def _one_class(machine: Any) -> Layers:
    return *_support_vectors(machine), _NEGATIVE


def _kernel_ridge(machine: Any) -> Layers:
    return _kernel(machine.X_fit_, machine.kernel, machine.gamma), _dense(machine.dual_coef_, 0.0)


def _gaussian_process_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    kernels = import_quietly("sklearn.gaussian_process.kernels")
    function, length = parameters.pop("kernel"), parameters.pop("length_scale")
    kernel = kernels.RBF(length) if function == "rbf" else kernels.Matern(length, nu=1.5)
    return {**parameters, "kernel": kernel, "optimizer": None, "normalize_y": True}


def _gaussian_process(machine: Any) -> Layers:
    kernel, length = machine.kernel_, machine.kernel_.length_scale
    if hasattr(kernel, "nu"):
        first = _kernel(machine.X_train_, "matern-3/2", 1.0 / length)
    else:
        first = _kernel(machine.X_train_, "rbf", 0.5 / length**2)
    spread, centre = float(machine._y_train_std), float(machine._y_train_mean)  # noqa: SLF001 - undoes normalize_y
    return first, _dense(np.ravel(machine.alpha_) * spread, centre)


def _neighbours(machine: Any) -> Layers:
    settings = (("count", int(machine.n_neighbors)), ("weighting", str(machine.weights)))
    arrays = (np.asarray(machine._fit_X, np.float64), np.asarray(machine._y, np.float64))  # noqa: SLF001 - its rows
    return (Layer("neighbours", arrays, settings),)


def _network(machine: Any) -> Layers:
    layers: list[Layer] = []
    for weights, bias in zip(machine.coefs_, machine.intercepts_, strict=True):
        if layers:
            layers.append(Layer("activation", (), (("function", str(machine.activation)),)))
        layers.append(_dense(weights.T, bias))
    return (*layers, _LOGISTIC) if machine.out_activation_ == "logistic" else tuple(layers)


def _isotonic(machine: Any) -> Layers:
    places = np.asarray(machine.X_thresholds_, np.float64)
    return (Layer("interpolate", (places, np.asarray(machine.y_thresholds_, np.float64))),)


def _densities(means: Any, whitening: Any, log_weights: Any) -> Layer:
    whitening = np.asarray(whitening, np.float64)
    volumes = np.log(np.abs(np.linalg.det(whitening)))
    offsets = np.asarray(log_weights) + volumes - 0.5 * whitening.shape[-1] * np.log(2 * np.pi)
    return Layer("gaussians", (np.asarray(means, np.float64), whitening, offsets))


def _naive_bayes(machine: Any) -> Layers:
    whitening = np.stack([np.diag(1 / np.sqrt(variance)) for variance in machine.var_])
    densities = _densities(machine.theta_, whitening, np.log(machine.class_prior_))
    return densities, Layer("softmax"), _SECOND_OF_TWO


def _quadratic_discriminant(machine: Any) -> Layers:
    whitening = np.stack(
        [
            (rotation / np.sqrt(scaling)).T
            for rotation, scaling in zip(machine.rotations_, machine.scalings_, strict=True)
        ]
    )
    densities = _densities(machine.means_, whitening, np.log(machine.priors_))
    return densities, Layer("softmax"), _SECOND_OF_TWO


def _bernoulli(machine: Any) -> Layers:
    absent = np.log1p(-np.exp(machine.feature_log_prob_))
    weights = machine.feature_log_prob_ - absent
    bias = machine.class_log_prior_ + absent.sum(axis=1)
    is_positive = Layer("activation", (), (("function", "positive"),))
    return is_positive, _dense(weights, bias), Layer("softmax"), _SECOND_OF_TWO


def _nearest_centroid(machine: Any) -> Layers:
    """Compares discriminants: minus half the squared distances to the centres in units of spread."""
    spread = np.where(machine.within_class_std_dev_ > 0, machine.within_class_std_dev_, 1.0)
    scaled = Layer("standardise", (np.zeros(len(spread)), spread))
    distances = Layer("square-distances", (np.asarray(machine.centroids_ / spread, np.float64),))
    score = _dense([[-1.0, 1.0]], 0.0)
    halves = _dense(-np.eye(2), 2 * np.log(machine.class_prior_))
    return scaled, distances, halves, score, _LOGISTIC


def _centres(machine: Any) -> Layers:
    return (
        Layer("square-distances", (np.asarray(machine.cluster_centers_, np.float64),)),
        _NEGATIVE,
        Layer("largest"),
    )


def _mixture(machine: Any) -> Layers:
    whitening = np.swapaxes(machine.precisions_cholesky_, 1, 2)
    return _densities(machine.means_, whitening, np.log(machine.weights_)), Layer("largest")


def _bayesian_mixture(machine: Any) -> Layers:
    """Scores components by their variational posterior, whose terms beside the densities are constants."""
    zeros = np.zeros((1, machine.n_features_in_))
    whitening = np.swapaxes(machine.precisions_cholesky_, 1, 2)
    densities = _densities(machine.means_, whitening, np.zeros(len(machine.means_)))
    white = np.einsum("kij,kj->ki", whitening, zeros - machine.means_)
    plain = densities.arrays[2] - 0.5 * (white**2).sum(axis=1)
    offsets = densities.arrays[2] + (machine._estimate_weighted_log_prob(zeros)[0] - plain)  # noqa: SLF001 - its own score
    return Layer("gaussians", (*densities.arrays[:2], offsets)), Layer("largest")


def _birch(machine: Any) -> Layers:
    settings = (("count", 1), ("weighting", "uniform"))
    arrays = (
        np.asarray(machine.subcluster_centers_, np.float64),
        np.asarray(machine.subcluster_labels_, np.float64),
    )
    return (Layer("neighbours", arrays, settings),)


def _envelope(machine: Any) -> Layers:
    """Gives the squared Mahalanobis distance, less the one that few training rows exceed."""
    root = np.linalg.cholesky(machine.get_precision()).T
    location = np.atleast_2d(machine.location_)
    centred = Layer("gaussians", (location, root[np.newaxis], np.zeros(1)))
    return centred, _dense([[-2.0]], float(machine.offset_))


_CONVERSIONS: dict[str, Callable[[Any], Layers]] = {
    "SVR": _support_vectors,
    "NuSVR": _support_vectors,
    "SVC": _support_classes,
    "NuSVC": _support_classes,
    "OneClassSVM": _one_class,
    "KernelRidge": _kernel_ridge,
    "GaussianProcessRegressor": _gaussian_process,
    "KNeighborsRegressor": _neighbours,
    "KNeighborsClassifier": _neighbours,
    "MLPRegressor": _network,
    "MLPClassifier": _network,
    "IsotonicRegression": _isotonic,
    "GaussianNB": _naive_bayes,
    "QuadraticDiscriminantAnalysis": _quadratic_discriminant,
    "BernoulliNB": _bernoulli,
    "NearestCentroid": _nearest_centroid,
    "KMeans": _centres,
    "MiniBatchKMeans": _centres,
    "MeanShift": _centres,
    "AffinityPropagation": _centres,
    "GaussianMixture": _mixture,
    "BayesianGaussianMixture": _bayesian_mixture,
    "Birch": _birch,
    "EllipticEnvelope": _envelope,
}
