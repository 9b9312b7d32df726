import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_scheduling.quotas import (
    NOTHING,
    UNLIMITED,
    Amounts,
    Ceiling,
    Queue,
    QueueTreeError,
    QuotaBook,
    check_queues,
    plus,
)

ONE: Amounts = (1_000, 0, 0)


def _cpus(count: int) -> Amounts:
    return (1_000 * count, 0, 0)


def _at_most(count: int) -> Amounts:
    return (1_000 * count, UNLIMITED, UNLIMITED)


@pytest.mark.parametrize(
    ("queues", "text"),
    [
        pytest.param([Queue("")], "queue '': name is empty", id="nameless"),
        pytest.param([Queue("a"), Queue("a")], "queue 'a': name is given twice", id="twice"),
        pytest.param(
            [Queue("a", "b")], "queue 'a': parent names 'b', which is not in the tree", id="unknown parent"
        ),
        pytest.param(
            [Queue("a", "b"), Queue("b", "c"), Queue("c", "a")],
            "queue 'a': parent closes a cycle: a -> b -> c -> a",
            id="cycle",
        ),
        pytest.param([Queue("a", "a")], "queue 'a': parent closes a cycle: a -> a", id="own parent"),
        pytest.param([Queue("a", weight=0.0)], "queue 'a': weight is 0.0, not above zero", id="weightless"),
        pytest.param(
            [Queue("a", weight=math.nan)], "queue 'a': weight is nan, not above zero", id="weight no number"
        ),
        pytest.param(
            [Queue("a", guaranteed=(0, -1, 0))], "queue 'a': guaranteed.memory is negative: -1", id="negative"
        ),
        pytest.param(
            [Queue("a", guaranteed=_cpus(2), ceiling=_at_most(1))],
            "queue 'a': ceiling.cpus 1000 lies below its guarantee 2000",
            id="ceiling below guarantee",
        ),
        pytest.param(
            [
                Queue("a", guaranteed=_cpus(3)),
                Queue("b", "a", guaranteed=_cpus(2)),
                Queue("c", "a", guaranteed=_cpus(2)),
            ],
            "queue 'a': guaranteed.cpus is overcommitted: its children are guaranteed 4000 of 3000",
            id="overcommitted",
        ),
        pytest.param(
            [Queue("a", ceiling=_at_most(1)), Queue("b", "a", guaranteed=_cpus(2))],
            "queue 'a': guaranteed.cpus is overcommitted: its children are guaranteed 2000 of 1000",
            id="above the ceiling of the parent",
        ),
    ],
)
def test_a_wrong_tree_is_refused_with_its_first_fault(queues: list[Queue], text: str) -> None:
    with pytest.raises(QueueTreeError) as refused:
        check_queues(queues)

    assert str(refused.value) == text


def test_a_ceiling_counts_everything_below_it() -> None:
    book = QuotaBook([Queue("desk", ceiling=_at_most(3)), Queue("a", "desk"), Queue("b", "desk")])

    book.take("a", ONE, 2)

    assert book.ceiling_in_the_way("b", ONE) is None
    assert book.ceiling_in_the_way("b", ONE, 2) == Ceiling("desk", "cpus")
    assert book.lasting_ceiling("b", ONE, 2) is None
    assert book.lasting_ceiling("b", ONE, 4) == Ceiling("desk", "cpus")


def test_lent_capacity_is_reclaimed_within_the_guarantee_only() -> None:
    book = QuotaBook([Queue("a", guaranteed=_cpus(2)), Queue("b", guaranteed=_cpus(2))])
    book.take("b", ONE, 4)

    assert book.may_reclaim("a", ONE, 2, "b")
    assert not book.may_reclaim("a", ONE, 3, "b")
    assert not book.may_reclaim("b", ONE, 1, "a")
    assert not book.may_reclaim("b", ONE, 1, "b")


def test_siblings_share_the_guarantee_of_their_parent_before_it_is_lent() -> None:
    book = QuotaBook(
        [
            Queue("desk", guaranteed=_cpus(4)),
            Queue("a", "desk", guaranteed=_cpus(1)),
            Queue("b", "desk"),
            Queue("other"),
        ]
    )
    book.take("other", ONE, 2)
    book.take("b", ONE, 1)

    assert book.may_reclaim("b", ONE, 3, "other")
    assert book.may_reclaim("a", ONE, 1, "b")
    assert not book.may_reclaim("b", ONE, 1, "a")


_QUEUES = st.lists(
    st.tuples(st.sampled_from(["", "q0", "q1", "q2"]), st.integers(0, 3), st.integers(0, 6)),
    min_size=2,
    max_size=6,
)


@given(
    shape=_QUEUES,
    taken=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3)), max_size=12),
    data=st.data(),
)
def test_what_was_reclaimed_is_never_reclaimed_back(
    shape: list[tuple[str, int, int]], taken: list[tuple[int, int]], data: st.DataObject
) -> None:
    queues = [
        Queue(f"q{index}", parent if parent < f"q{index}" else "", guaranteed=_cpus(guaranteed))
        for index, (parent, guaranteed, _) in enumerate(shape)
    ]
    book = QuotaBook(queues)
    for index, count in taken:
        book.take(f"q{index % len(queues)}", ONE, count)
    claimant, holder = (data.draw(st.sampled_from(queues)).name for _ in range(2))
    if not book.may_reclaim(claimant, ONE, 1, holder):
        return

    book.take(holder, ONE, -1)
    book.take(claimant, ONE, 1)

    assert not book.may_reclaim(holder, ONE, 1, claimant)


def test_amounts_add_up() -> None:
    assert plus(NOTHING, (1, 2, 3), 2) == (2, 4, 6)
