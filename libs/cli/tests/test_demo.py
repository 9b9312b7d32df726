import json
from datetime import UTC, date, datetime
from io import StringIO
from itertools import pairwise
from pathlib import Path

from mltrainer_cli.demo import traces
from mltrainer_cli.demo.facts import Facts, LeaderboardRow, PredictFacts, VolatilityFacts
from mltrainer_cli.demo.live import LiveTrading
from mltrainer_cli.demo.market import close_time, load_market, replay_clock
from mltrainer_cli.demo.report import print_report
from mltrainer_common.clock import parse_market_clock
from rich.console import Console

START = datetime(2021, 12, 31, 22, tzinfo=UTC)


def test_history_ends_where_the_replay_begins() -> None:
    market = load_market(date(2021, 12, 1), START)

    assert max(price.day for price in market.history) == date(2021, 12, 31)
    assert market.days[0][0] == date(2022, 1, 3)
    assert len(market.symbols) == 20
    assert all(len(prices) == 20 for _, prices in market.days)


def test_the_history_is_written_with_exact_prices_and_close_times() -> None:
    import gzip

    market = load_market(date(2021, 12, 31), START)

    lines = gzip.decompress(market.history_csv()).decode().splitlines()

    first = market.history[0]
    assert lines[0] == "symbol,event_time,close"
    assert lines[1] == f"{first.symbol},{close_time(first.day).isoformat()},{first.price_usd!r}"
    assert market.history_csv() == market.history_csv()


def test_the_replay_clock_passes_days_in_seconds() -> None:
    clock = parse_market_clock(replay_clock(START, 0.5, datetime.now(UTC)))

    assert 0 <= (clock.now() - START).total_seconds() < 86_400


def test_labels_are_log_variances_of_the_days_after() -> None:
    from math import log
    from typing import Any, cast

    market = load_market(date(2021, 12, 1), START)
    scene = cast("Any", type("Scene", (), {"market": market}))

    labels = LiveTrading(scene, [])._labels(0)

    closes = [prices[0].price_usd for _, prices in market.days[:6]]
    expected = log(sum(log(b / a) ** 2 for a, b in pairwise(closes)))
    assert abs(labels[market.days[0][1][0].symbol] - expected) < 1e-12


def _line(service: str, trace_id: str, name: str) -> str:
    attribute = {"key": "service.name", "value": {"stringValue": service}}
    span = {"traceId": trace_id, "name": name}
    resource = {"resource": {"attributes": [attribute]}, "scopeSpans": [{"spans": [span]}]}
    return json.dumps({"resourceSpans": [resource]}) + "\n"


def test_span_files_are_merged_and_half_written_lines_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(_line("a", "1", "x") + _line("a", "2", "y"))
    (tmp_path / "b.jsonl").write_text(_line("b", "1", "z") + '{"resourceSpans": [{"reso')
    target = tmp_path / "merged"

    count = traces.merge(tmp_path, target)

    assert count == len(target.read_text().splitlines()) == 3
    assert traces.services_of(tmp_path, "1") == {"a": 1, "b": 1}


def _facts() -> Facts:
    row = LeaderboardRow("ridge", 0.5, 0.6, [0.4, float("nan")], chosen=True)
    volatility = VolatilityFacts("ridge", 0.5, 0.6, 0.4, 0.3, "edge", "because", [row], 4, 1.0)
    predict = PredictFacts(10, 0, 1.0, 2.0, 1)
    drift = {"conclusion": "DRIFTED", "drifted": [f"f{n}" for n in range(9)]}
    return Facts(elapsed_s=1.0, volatility=volatility, predict=predict, drift=drift, trace_id="abc")


def test_facts_are_json_without_numbers_that_json_lacks() -> None:
    content = json.loads(json.dumps(_facts().to_json(), allow_nan=False))

    assert content["volatility"]["leaderboard"][0]["fold_r2"] == [0.4, None]
    assert content["chaos"] is None


def test_the_report_shows_every_section_and_shortens_long_lists() -> None:
    screen = StringIO()

    print_report(_facts(), Console(file=screen, width=100))

    text = screen.getvalue()
    assert all(part in text for part in ("ridge", "0.500", "edge", "f5", "and 3 more", "abc"))
    assert "f6" not in text
