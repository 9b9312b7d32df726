"""A lease lasts as long as was said, by clocks that nobody sets."""

from dataclasses import dataclass

from mltrainer_trainer.application.lease_book import LeaseBook
from mltrainer_trainer.entrypoints.attempt_process import Lease


@dataclass(slots=True)
class Watch:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_book_tells_how_long_an_allocation_still_holds() -> None:
    watch = Watch()
    book = LeaseBook(watch)
    book.prolong({"allocations/a"}, 30.0)

    watch.now_s += 12.0

    assert book.left_s("allocations/a") == 18.0
    assert book.left_s("allocations/unknown") == 0.0


def test_a_lease_that_has_lapsed_or_was_forgotten_adds_nothing() -> None:
    watch = Watch()
    book = LeaseBook(watch)
    book.prolong({"allocations/a", "allocations/b"}, 30.0)
    book.keep_only({"allocations/a"})

    watch.now_s += 31.0

    assert (book.left_s("allocations/a"), book.left_s("allocations/b")) == (0.0, 0.0)


def test_an_attempt_counts_its_lease_from_the_question() -> None:
    watch = Watch()
    lease = Lease(10.0, watch)
    asked_s = watch.now_s + 4.0

    watch.now_s += 9.0
    lease.prolong(asked_s, 30.0)

    assert lease.left_s() == 25.0


def test_an_answer_never_shortens_a_lease() -> None:
    watch = Watch()
    lease = Lease(10.0, watch)

    lease.prolong(watch.now_s, 0.0)
    lease.prolong(watch.now_s - 60.0, 30.0)

    assert (lease.left_s(), lease.length_s) == (10.0, 10.0)
