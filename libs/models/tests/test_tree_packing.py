import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_models import (
    GrownTree,
    ModelDescription,
    ModelTarget,
    load_predictor,
    pack_trees,
    save_model,
)

DESCRIPTION = ModelDescription("test", ModelTarget("DIRECTION", 5), ("a", "b", "c"))


def grow(random: np.random.Generator, splits: int) -> GrownTree:
    """Splits random leaves; nodes are numbered in the order in which they appear, not by level."""
    left, right = [-1], [-1]
    for _ in range(splits):
        leaf = int(random.choice([node for node in range(len(left)) if left[node] < 0]))
        left[leaf], right[leaf] = len(left), len(left) + 1
        left += [-1, -1]
        right += [-1, -1]
    count = len(left)
    return GrownTree(
        feature=random.integers(0, 3, count),
        threshold=random.normal(size=count),
        left=np.array(left),
        right=np.array(right),
        value=random.normal(size=count),
    )


def walk(tree: GrownTree, row: np.ndarray) -> float:
    node = 0
    while tree.left[node] >= 0:
        exceeds = row[tree.feature[node]] > tree.threshold[node]
        node = tree.right[node] if exceeds else tree.left[node]
    return float(tree.value[node])


@given(seed=st.integers(0, 10_000), splits=st.lists(st.integers(0, 12), min_size=1, max_size=5))
def test_packed_trees_lead_where_the_grown_ones_lead(seed: int, splits: list[int]) -> None:
    random = np.random.default_rng(seed)
    trees = [grow(random, count) for count in splits]
    rows = random.normal(size=(20, 3))

    predictor = load_predictor(save_model(pack_trees(DESCRIPTION, trees, base=0.5, divisor=2.0)))

    expected = [(0.5 + sum(walk(tree, row) for tree in trees)) / 2.0 for row in rows]
    np.testing.assert_allclose(predictor.predict(rows), expected, rtol=1e-14, atol=1e-14)
