import numpy as np
import pytest
from mltrainer_trainer.domain.calibration import brier_losses, calibration_error, log_losses


def test_losses_of_probabilities_match_their_formulas() -> None:
    labels, probabilities = np.array([1.0, 0.0]), np.array([0.8, 0.3])

    assert log_losses(labels, probabilities).tolist() == pytest.approx([-np.log(0.8), -np.log(0.7)])
    assert brier_losses(labels, probabilities).tolist() == pytest.approx([0.04, 0.09])


def test_predictions_beyond_zero_and_one_have_finite_losses() -> None:
    labels, predictions = np.array([1.0, 0.0, 0.0]), np.array([-0.5, 2.0, 1.0])

    assert np.isfinite(log_losses(labels, predictions)).all()
    assert brier_losses(labels, predictions).tolist() == [1.0, 1.0, 1.0]


def test_probabilities_that_come_true_are_calibrated_and_bold_ones_are_not() -> None:
    random = np.random.default_rng(1)
    truth = random.uniform(size=50_000)
    labels = (random.uniform(size=50_000) < truth).astype(float)

    assert calibration_error(labels, truth) < 0.01
    assert calibration_error(labels, np.round(truth)) > 0.2
