from datetime import timedelta

from mltrainer_feature.domain.universes import PAUSE, SymbolEdge, describe_universe

from .quotes import Quote, day, to_bars

FIRST_AFTER, LAST_BEFORE = PAUSE.days + 1, 100 - PAUSE.days - 1


def test_symbols_that_begin_or_end_inside_the_span_are_named() -> None:
    always = [Quote("A", index, 1.0) for index in range(101)]
    later = [Quote("B", FIRST_AFTER, 1.0), Quote("B", 100, 1.0)]
    gone = [Quote("C", 0, 1.0), Quote("C", LAST_BEFORE, 1.0)]

    universe = describe_universe("ABC", to_bars([*always, *later, *gone]), (None, day(100)), ())

    assert (universe.first_event_time, universe.last_event_time) == (day(0), day(100))
    assert universe.began == (SymbolEdge("B", day(FIRST_AFTER)),)
    assert universe.ended == (SymbolEdge("C", day(LAST_BEFORE)),)
    assert "Ended inside the span: C (2021-04-03)" in universe.statement()
    assert "Began inside the span: B" in universe.statement()


def test_a_pause_of_the_market_ends_nobody() -> None:
    bars = to_bars([Quote("A", PAUSE.days, 1.0), Quote("A", 100 - PAUSE.days, 1.0), Quote("B", 0, 1.0)])

    universe = describe_universe(["A"], bars, (day(0), day(100)), ())

    assert [edge.symbol for edge in universe.ended] == ["B"]
    assert universe.began == ()


def test_a_universe_that_nobody_left_is_said_to_hold_survivors_only() -> None:
    bars = to_bars([Quote("A", index, 1.0) for index in range(5)])

    universe = describe_universe(["A"], bars, (None, day(4)), ())

    assert universe.ended == ()
    assert "survivors only" in universe.statement()
    assert "Prices are adjusted" in universe.statement()


def test_symbols_without_bars_and_without_adjustment_are_named() -> None:
    bars = to_bars([Quote("A", 0, 1.0), Quote("B", 50, 1.0)])

    universe = describe_universe(["B", "A"], bars, (day(40), day(50)), {"B"})

    assert universe.without_bars == ("A",)
    assert "No bar in the span: A." in universe.statement()
    assert "not adjusted: B; splits and dividends are in the returns as jumps" in universe.statement()


def test_a_span_without_bars_has_no_ends() -> None:
    universe = describe_universe(["A"], to_bars([]), (None, None), ())

    assert (universe.first_event_time, universe.last_event_time) == (None, None)
    assert universe.without_bars == ("A",)


def test_a_long_list_of_symbols_is_cut_in_the_statement_only() -> None:
    names = [f"S{number:02}" for number in range(12)]
    bars = to_bars([Quote("A", 0, 1.0)])

    universe = describe_universe(["A", *names], bars, (day(0), day(0) + timedelta(days=1)), ())

    assert universe.without_bars == tuple(names)
    assert "S09 and 2 more" in universe.statement()
