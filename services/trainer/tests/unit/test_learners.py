import numpy as np
import pytest
from mltrainer_models import ModelDescription, ModelTarget, load_predictor, save_model
from mltrainer_trainer.adapters.estimators import load_learner
from mltrainer_trainer.domain.catalogue import CatalogueEntry
from mltrainer_trainer.domain.catalogue.core import CORE
from mltrainer_trainer.domain.learners import FitRequest, LearnerUnavailableError
from mltrainer_trainer.domain.linear_learners import fit_elastic_net, fit_ridge
from sklearn.linear_model import ElasticNet, Ridge

ROWS = 3_000


def request_of(width: int, parameters: dict[str, object], seed: int = 0) -> FitRequest:
    random = np.random.default_rng(11)
    matrix = random.normal(size=(ROWS, width)) * np.arange(1, width + 1) + 5
    labels = matrix[:, 0] * 0.3 - np.abs(matrix[:, -1]) * 0.1 + random.normal(size=ROWS) - 8
    dates = np.arange(ROWS) // 6
    return FitRequest(matrix, labels, parameters, horizon_bars=5, seed=seed, groups=dates)


def settings_of(entry: CatalogueEntry) -> dict[str, object]:
    """The default configuration, with leaves small enough for these few rows."""
    small = {name: 20 for name in ("min_data_in_leaf", "min_samples_leaf") if name in entry.defaults}
    return {**entry.fixed, **entry.defaults, **small}


def standardised(matrix: np.ndarray) -> np.ndarray:
    return (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)


def described(width: int) -> ModelDescription:
    return ModelDescription(
        "test", ModelTarget("DIRECTION", 5), tuple(f"f{column}" for column in range(width))
    )


@pytest.mark.parametrize("entry", CORE, ids=lambda entry: entry.id)
def test_what_serving_loads_predicts_the_bits_of_the_fit(entry: CatalogueEntry) -> None:
    width = len(entry.features) or 6
    request = request_of(width, settings_of(entry), seed=3)

    fit = load_learner(entry)(request)
    predictor = load_predictor(save_model(fit.to_model(described(width))))

    expected = fit.predict(request.matrix)
    assert np.isfinite(expected).all()
    assert predictor.predict(request.matrix).tobytes() == expected.tobytes()
    assert predictor.predict(request.matrix[:1]).tobytes() == expected[:1].tobytes()


@pytest.mark.parametrize("entry", CORE, ids=lambda entry: entry.id)
def test_fitting_twice_gives_one_canonical_digest(entry: CatalogueEntry) -> None:
    width = len(entry.features) or 6
    request = request_of(width, settings_of(entry), seed=2**40 + 1)

    digests = {
        save_model(load_learner(entry)(request).to_model(described(width))).canonical_digest for _ in range(2)
    }

    assert len(digests) == 1


@pytest.mark.parametrize("entry", [entry for entry in CORE if entry.is_seeded], ids=lambda entry: entry.id)
def test_another_seed_gives_another_model(entry: CatalogueEntry) -> None:
    digests = {
        save_model(
            load_learner(entry)(request_of(6, settings_of(entry), seed)).to_model(described(6))
        ).canonical_digest
        for seed in (1, 2)
    }

    assert len(digests) == 2


def test_ridge_agrees_with_scikit_learn() -> None:
    request = request_of(4, {"alpha": 0.5})
    judge = Ridge(alpha=0.5 * ROWS).fit(standardised(request.matrix), request.labels)

    model = fit_ridge(request).model

    np.testing.assert_allclose(model.coefficients, judge.coef_, rtol=1e-9)


def test_elastic_net_agrees_with_scikit_learn() -> None:
    request = request_of(4, {"strength": 0.05, "l1_share": 0.7})
    judge = ElasticNet(alpha=0.05, l1_ratio=0.7, tol=1e-10).fit(standardised(request.matrix), request.labels)

    model = fit_elastic_net(request).model

    np.testing.assert_allclose(model.coefficients, judge.coef_, atol=1e-6)
    assert (model.coefficients == 0).any()


def test_a_constant_feature_gets_no_weight() -> None:
    request = request_of(3, {"alpha": 0.0})
    request.matrix[:, 1] = 7.0

    model = fit_ridge(request).model

    assert model.coefficients[1] == 0.0
    assert np.isfinite(model.evaluate(request.matrix)).all()


def test_a_parameter_that_is_no_number_is_refused() -> None:
    with pytest.raises(TypeError, match="alpha"):
        fit_ridge(request_of(2, {"alpha": "large"}))


def test_a_library_that_does_not_load_is_a_reason_to_skip() -> None:
    entry = CatalogueEntry("oracle", "trees", (), "no_such_library:Oracle")

    with pytest.raises(LearnerUnavailableError, match="oracle") as caught:
        load_learner(entry)

    assert "no_such_library" in caught.value.reason
