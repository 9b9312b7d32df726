import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_assignment import (
    BUCKET_COUNT,
    Assignment,
    AssignmentPlan,
    AssignmentReason,
    NamespaceSlice,
    PlanError,
    Variant,
    bucket_of,
    unit_of,
)

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())
EVEN = (Variant("champion", 1), Variant("challenger", 1))
units = st.text(max_size=30)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: repr(vector["unit"]))
def test_buckets_match_the_published_vectors(vector: dict[str, str]) -> None:
    assert bucket_of(vector["purpose"], vector["salt"], vector["unit"]) == vector["bucket"]


def test_another_process_assigns_the_same() -> None:
    script = "from mltrainer_assignment import bucket_of; print(bucket_of('variant', 's', 'AAPL'))"

    printed = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        text=True,
        env={"PYTHONHASHSEED": "77"},
    ).stdout

    assert int(printed) == bucket_of("variant", "s", "AAPL")


@given(unit=units, traffic=st.integers(0, BUCKET_COUNT), more=st.integers(0, BUCKET_COUNT))
def test_more_traffic_moves_no_unit_between_variants(unit: str, traffic: int, more: int) -> None:
    small, large = sorted((traffic, more))

    before = AssignmentPlan("s", EVEN, traffic=small).assign(unit)
    after = AssignmentPlan("s", EVEN, traffic=large).assign(unit)

    assert before in (after, Assignment(None, AssignmentReason.OUTSIDE_TRAFFIC))


@given(unit=units, cut=st.integers(1, BUCKET_COUNT - 1))
def test_slices_of_a_namespace_that_do_not_meet_share_no_unit(unit: str, cut: int) -> None:
    first = AssignmentPlan("a", EVEN, namespace_slice=NamespaceSlice("desk", 0, cut)).assign(unit)
    second = AssignmentPlan("b", EVEN, namespace_slice=NamespaceSlice("desk", cut, BUCKET_COUNT)).assign(unit)

    assert {first.reason, second.reason} == {
        AssignmentReason.ASSIGNED,
        AssignmentReason.OUTSIDE_NAMESPACE_SLICE,
    }


@given(weights=st.lists(st.integers(0, 10**12), min_size=1, max_size=6).filter(any), unit=units)
def test_a_variant_of_no_weight_gets_no_unit(weights: list[int], unit: str) -> None:
    plan = AssignmentPlan("s", tuple(Variant(f"v{index}", weight) for index, weight in enumerate(weights)))

    assigned = plan.assign(unit).variant

    assert assigned is not None
    assert weights[int(assigned[1:])] > 0


def test_shares_follow_the_weights() -> None:
    plan = AssignmentPlan("s", (Variant("a", 1), Variant("b", 2), Variant("c", 1)), traffic=500_000)

    counts = Counter(plan.assign(f"unit-{index}").variant for index in range(40_000))

    expected = {"a": 5_000, "b": 10_000, "c": 5_000, None: 20_000}
    assert (
        sum((counts[name] - count) ** 2 / count for name, count in expected.items()) < 16.3
    )  # p = .001, 3 d.f.


def test_experiments_with_other_salts_split_independently() -> None:
    first, second = AssignmentPlan("a", EVEN), AssignmentPlan("b", EVEN)

    same = sum(first.assign(str(unit)) == second.assign(str(unit)) for unit in range(10_000))

    assert abs(same - 5_000) < 4 * 50


def test_changed_weights_move_only_the_units_in_between() -> None:
    before = AssignmentPlan("s", (Variant("a", 50), Variant("b", 50)))
    after = AssignmentPlan("s", (Variant("a", 60), Variant("b", 40)))

    moved = {
        (before.assign(str(unit)).variant, after.assign(str(unit)).variant)
        for unit in range(2_000)
        if before.assign(str(unit)) != after.assign(str(unit))
    }

    assert moved == {("b", "a")}


@given(left=st.lists(units, min_size=1, max_size=3), right=st.lists(units, min_size=1, max_size=3))
def test_different_parts_give_different_units(left: list[str], right: list[str]) -> None:
    assert (unit_of(*left) == unit_of(*right)) == (left == right)


@pytest.mark.parametrize(
    ("change", "field_path"),
    [
        pytest.param({"salt": ""}, "salt", id="no-salt"),
        pytest.param({"salt": "a\x1fb"}, "salt", id="separator-in-salt"),
        pytest.param({"variants": ()}, "variants", id="no-variants"),
        pytest.param({"variants": (Variant("a", 1), Variant("a", 1))}, "variants", id="repeated-variant"),
        pytest.param({"variants": (Variant("a", 0),)}, "variants.weight", id="no-weight"),
        pytest.param(
            {"variants": (Variant("a", -1), Variant("b", 1))}, "variants.weight", id="negative-weight"
        ),
        pytest.param({"traffic": BUCKET_COUNT + 1}, "traffic", id="too-much-traffic"),
        pytest.param({"namespace_slice": NamespaceSlice("n", 5, 5)}, "namespace_slice", id="empty-slice"),
        pytest.param(
            {"namespace_slice": NamespaceSlice("", 0, 5)}, "namespace_slice.namespace", id="no-namespace"
        ),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(change: dict[str, object], field_path: str) -> None:
    with pytest.raises(PlanError) as caught:
        AssignmentPlan(**({"salt": "s", "variants": EVEN} | change))

    assert caught.value.field_path == field_path


def test_an_assignment_costs_a_few_microseconds() -> None:
    plan = AssignmentPlan("s", EVEN, traffic=900_000, namespace_slice=NamespaceSlice("desk", 0, 900_000))
    names = [f"momentum/AAPL/{index}" for index in range(5_000)]

    rounds = []
    for _ in range(5):
        started = time.process_time()
        for name in names:
            plan.assign(name)
        rounds.append((time.process_time() - started) / len(names))

    assert min(rounds) < 25e-6  # measured at 3e-6; room for slow and shared machines
