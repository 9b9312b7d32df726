from collections.abc import Callable

import numpy as np
import pytest
from mltrainer_models import (
    ArtifactError,
    Layer,
    LayersModel,
    LinearModel,
    Link,
    ModelDescription,
    ModelTarget,
    load_predictor,
    save_model,
)
from mltrainer_models.canonical import decode_canonical, encode_canonical

RANDOM = np.random.default_rng(3)
DESCRIPTION = ModelDescription("test", ModelTarget("DIRECTION", 5), ("a", "b", "c"))
ROWS = RANDOM.normal(size=(300, 3))
VECTORS = RANDOM.normal(size=(40, 3))
SCALE = Layer("standardise", (np.array([1.0, 2.0, 3.0]), np.array([0.5, 1.0, 2.0])))
LAST = Layer("dense", (RANDOM.normal(size=(1, 40)), np.zeros(1)))


def kernel(function: str) -> Layer:
    settings = (("degree", 2), ("function", function), ("gamma", 0.1), ("offset", 1.0))
    return Layer("kernel", (VECTORS,), settings)


def neighbours(weighting: str) -> Layer:
    return Layer("neighbours", (VECTORS, VECTORS[:, 0]), (("count", 7), ("weighting", weighting)))


def activation(function: str) -> Layer:
    return Layer("activation", (), (("function", function),))


GAUSSIANS = Layer("gaussians", (VECTORS[:2], np.stack([np.eye(3), np.eye(3) * 2]), np.zeros(2)))
MODELS = {
    "rbf": (SCALE, kernel("rbf"), LAST),
    "laplacian": (kernel("laplacian"), LAST),
    "matern": (kernel("matern-3/2"), LAST),
    "polynomial": (kernel("polynomial"), LAST, activation("logistic")),
    "sigmoid": (kernel("sigmoid"), LAST, activation("negative")),
    "neighbours": (neighbours("uniform"),),
    "weighted-neighbours": (neighbours("distance"),),
    "network": (
        Layer("dense", (RANDOM.normal(size=(40, 3)), np.zeros(40))),
        activation("relu"),
        LAST,
        activation("tanh"),
    ),
    "mixture": (GAUSSIANS, Layer("softmax"), Layer("dense", (np.array([[0.0, 1.0]]), np.zeros(1)))),
    "clusters": (Layer("square-distances", (VECTORS,)), activation("negative"), Layer("largest")),
    "isotonic": (
        Layer("dense", (np.ones((1, 3)), np.zeros(1))),
        Layer("interpolate", (np.array([0.0, 1.0]), np.array([2.0, 4.0]))),
    ),
}
LAYERS = pytest.mark.parametrize("layers", MODELS.values(), ids=MODELS)


@LAYERS
def test_a_loaded_model_predicts_the_same_bits_alone_and_in_a_batch(layers: tuple[Layer, ...]) -> None:
    model = LayersModel(DESCRIPTION, layers)

    predictor = load_predictor(save_model(model))

    together = predictor.predict(ROWS)
    assert together.tobytes() == model.evaluate(ROWS).tobytes()
    assert np.isfinite(together).all()
    assert b"".join(predictor.predict(ROWS[[row]]).tobytes() for row in range(50)) == together[:50].tobytes()


def test_neighbours_average_the_values_of_the_nearest() -> None:
    model = LayersModel(DESCRIPTION, MODELS["neighbours"])
    nearest = np.argsort(((VECTORS - ROWS[0]) ** 2).sum(axis=1))[:7]

    assert model.evaluate(ROWS[:1])[0] == pytest.approx(VECTORS[nearest, 0].mean())


def test_a_neighbour_at_the_same_place_decides_alone() -> None:
    model = LayersModel(DESCRIPTION, MODELS["weighted-neighbours"])

    assert model.evaluate(VECTORS[5:6])[0] == VECTORS[5, 0]


def test_a_polynomial_kernel_is_a_power_of_products() -> None:
    model = LayersModel(DESCRIPTION, (kernel("polynomial"), LAST))

    expected = (0.1 * ROWS @ VECTORS.T + 1.0) ** 2 @ LAST.arrays[0][0]

    np.testing.assert_allclose(model.evaluate(ROWS), expected, rtol=1e-9)


def test_no_rows_give_no_predictions() -> None:
    assert LayersModel(DESCRIPTION, MODELS["rbf"]).evaluate(np.empty((0, 3))).shape == (0,)


@pytest.mark.parametrize("link", Link)
def test_a_link_is_part_of_the_kind_of_a_model(link: Link) -> None:
    model = LinearModel(DESCRIPTION, np.zeros(3), np.ones(3), np.array([1.0, 0.0, 0.0]), 0.0, link)

    loaded = load_predictor(save_model(model))

    scores = ROWS[:, 0]
    expected = {"identity": scores, "logistic": 1 / (1 + np.exp(-scores)), "exponential": np.exp(scores)}
    np.testing.assert_allclose(loaded.predict(ROWS), expected[link], rtol=1e-12)


Edit = Callable[[list[dict[str, object]]], None]
EDITS: dict[str, tuple[Edit, str]] = {
    "unknown operation": (lambda steps: steps[0].update(operation="eval"), "unknown operation 'eval'"),
    "an operation that is no name": (lambda steps: steps[0].update(operation=[1]), "another type"),
    "a setting too many": (lambda steps: steps[0].update(settings={"x": 1}), "other settings"),
    "a function unheard of": (
        lambda steps: steps[1].update(
            settings={"function": "import", "gamma": 0.1, "offset": 0.0, "degree": 2}
        ),
        "cannot have function 'import'",
    ),
    "a degree without bounds": (
        lambda steps: steps[1].update(
            settings={"function": "rbf", "gamma": 0.1, "offset": 0.0, "degree": 1 << 40}
        ),
        "cannot have degree",
    ),
    "a shape beyond the numbers": (
        lambda steps: steps[1].update(shapes=[[1 << 30, 1 << 30]]),
        "no numbers for the shape",
    ),
    "a negative size": (lambda steps: steps[1].update(shapes=[[-1, 3]]), "no numbers for the shape"),
    "a turned array": (lambda steps: steps[1].update(shapes=[[3, 40]]), "do not fit"),
    "a step less": (lambda steps: steps.pop(), "more numbers than the steps need"),
    "no step": (lambda steps: steps.clear(), "1 to 64 layers"),
    "a step that is no object": (lambda steps: steps.__setitem__(0, 7), "not operation, settings and shapes"),
}


@pytest.mark.parametrize(("edit", "problem"), EDITS.values(), ids=EDITS)
def test_steps_that_do_not_fit_are_refused(edit: Edit, problem: str) -> None:
    files = dict(save_model(LayersModel(DESCRIPTION, MODELS["rbf"])).files)
    document = decode_canonical(files[LayersModel.LAYERS_FILE])
    edit(document["layers"])

    with pytest.raises(ArtifactError, match=problem):
        load_predictor({**files, LayersModel.LAYERS_FILE: encode_canonical(document)})


def test_a_model_that_leaves_two_columns_is_refused() -> None:
    with pytest.raises(ArtifactError, match="leaves 2 columns"):
        load_predictor(save_model(LayersModel(DESCRIPTION, (GAUSSIANS,))))


def test_a_scale_of_zero_is_refused() -> None:
    zero = Layer("standardise", (np.zeros(3), np.zeros(3)))

    with pytest.raises(ArtifactError, match="a scale is not positive"):
        load_predictor(save_model(LayersModel(DESCRIPTION, (zero, *MODELS["rbf"][1:]))))
