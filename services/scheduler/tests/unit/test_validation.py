from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from mltrainer_scheduler.domain.specification import (
    Budget,
    Evaluation,
    Resources,
    Search,
    Target,
    TargetKind,
    TrainingSpec,
    with_defaults,
)
from mltrainer_scheduler.domain.validation import validate

NOW = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
MARKET = datetime(2022, 12, 28, 22, tzinfo=UTC)
VARIANCE = TargetKind.LOG_REALIZED_VARIANCE


def fields(spec: TrainingSpec, request_id: str = "r1") -> list[str]:
    return [violation.field for violation in validate(request_id, spec, MARKET, NOW)]


def test_a_complete_request_is_right(spec: Callable[..., TrainingSpec]) -> None:
    assert fields(spec()) == []


def test_every_part_that_is_missing_is_named_at_once() -> None:
    nothing = TrainingSpec("", None, (), (), None, None, None, None)

    assert fields(nothing, request_id="") == [
        "request_id",
        "study",
        "target",
        "symbols",
        "feature_views",
        "as_of",
        "evaluation",
        "search",
        "budget",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"study": "vol5"}, ["study"], id="study without collection"),
        pytest.param({"study": "studies/Vol 5"}, ["study"], id="study with a blank"),
        pytest.param({"target": Target(VARIANCE, 0)}, ["target.horizon_bars"], id="no horizon"),
        pytest.param({"target": Target(VARIANCE, -5)}, ["target.horizon_bars"], id="negative horizon"),
        pytest.param({"target": Target(TargetKind.UNSPECIFIED, 5)}, ["target.kind"], id="no kind"),
        pytest.param({"symbols": ()}, ["symbols"], id="empty universe"),
        pytest.param({"symbols": ("AAPL", "a b", "")}, ["symbols[1]", "symbols[2]"], id="bad symbols"),
        pytest.param({"symbols": ("AAPL", "AAPL")}, ["symbols[1]"], id="symbol twice"),
        pytest.param({"symbols": tuple(f"S{n}" for n in range(2_001))}, ["symbols"], id="too many symbols"),
        pytest.param({"feature_views": ()}, ["feature_views"], id="no view"),
        pytest.param(
            {"feature_views": ("v@0", "v@x")}, ["feature_views[0]", "feature_views[1]"], id="versions"
        ),
        pytest.param({"as_of": None}, ["as_of"], id="no knowledge time"),
        pytest.param({"as_of": MARKET + timedelta(seconds=1)}, ["as_of"], id="future of the market"),
        pytest.param(
            {"as_of": datetime.min.replace(tzinfo=UTC)}, ["as_of", "evaluation.first_test_time"], id="year 1"
        ),
        pytest.param({"evaluation": Evaluation(None)}, ["evaluation.first_test_time"], id="no first test"),
        pytest.param(
            {"evaluation": Evaluation(MARKET)}, ["evaluation.first_test_time"], id="test after as_of"
        ),
        pytest.param(
            {"evaluation": Evaluation(NOW - timedelta(days=9_999), -1, -2)},
            ["evaluation.refit_interval_bars", "evaluation.embargo_bars"],
            id="negative bars",
        ),
        *(
            pytest.param(
                {
                    "evaluation": Evaluation(
                        datetime(2015, 1, 1, tzinfo=UTC),
                        combinatorial_groups=groups,
                        combinatorial_test_groups=tested,
                    )
                },
                [f"evaluation.{wrong}"],
                id=f"{tested} of {groups} combinatorial groups",
            )
            for groups, tested, wrong in (
                (2, 1, "combinatorial_groups"),
                (17, 2, "combinatorial_groups"),
                (-1, 0, "combinatorial_groups"),
                (0, 2, "combinatorial_test_groups"),
                (6, 6, "combinatorial_test_groups"),
                (6, -1, "combinatorial_test_groups"),
                (16, 8, "combinatorial_test_groups"),
            )
        ),
        pytest.param({"search": Search(())}, ["search.models"], id="no model"),
        pytest.param(
            {"search": Search(("",), -1)}, ["search.models[0]", "search.max_trials"], id="bad search"
        ),
        pytest.param({"budget": Budget()}, ["budget"], id="budget of nothing"),
        pytest.param(
            {"budget": Budget(-1.0, float("nan"))}, ["budget.cpu_seconds", "budget.cost_usd"], id="amounts"
        ),
        pytest.param({"budget": Budget(float("inf"))}, ["budget.cpu_seconds"], id="endless budget"),
        pytest.param({"budget": Budget(1.0, 0.0, NOW)}, ["budget.deadline_time"], id="deadline passed"),
        pytest.param(
            {"resources": Resources(-1.0, -1, float("nan"), "", -1, checkpoint_interval_s=-1.0)},
            [
                f"resources.{name}"
                for name in ("cpus", "memory_bytes", "gpus", "gang_workers", "checkpoint_interval_s")
            ],
            id="negative resources",
        ),
        pytest.param(
            {"resources": Resources(gpu_type="H200")}, ["resources.gpu_type"], id="type without GPUs"
        ),
        pytest.param({"queue": "A B"}, ["queue"], id="bad queue"),
        pytest.param({"propose_alias": "Champion!"}, ["propose_alias"], id="bad alias"),
        pytest.param({"priority": 1_001}, ["priority"], id="priority too high"),
        pytest.param({"priority": -1_001}, ["priority"], id="priority too low"),
        pytest.param({"owner": "a\nb"}, ["owner"], id="unprintable owner"),
        pytest.param({"labels": {"": "x"}}, ["labels"], id="label without key"),
        pytest.param({"labels": {str(n): "" for n in range(65)}}, ["labels"], id="too many labels"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(
    spec: Callable[..., TrainingSpec], changes: dict[str, Any], expected: list[str]
) -> None:
    assert fields(spec(**changes)) == expected


@pytest.mark.parametrize("request_id", ["", "x" * 129, "a\x00b", "a\nb"])
def test_a_request_id_is_short_and_printable(spec: Callable[..., TrainingSpec], request_id: str) -> None:
    assert fields(spec(), request_id) == ["request_id"]


def test_a_deadline_alone_is_a_budget(spec: Callable[..., TrainingSpec]) -> None:
    assert fields(spec(budget=Budget(deadline_time=NOW + timedelta(hours=1)))) == []


def test_thousands_of_wrong_symbols_are_answered_briefly(spec: Callable[..., TrainingSpec]) -> None:
    assert len(fields(spec(symbols=tuple(f"bad symbol {n}" for n in range(2_000))))) == 20


def test_combinatorial_groups_are_tested_two_at_a_time_where_nothing_else_is_said(
    spec: Callable[..., TrainingSpec],
) -> None:
    asked = spec(evaluation=Evaluation(datetime(2015, 1, 1, tzinfo=UTC), combinatorial_groups=6))

    filled = with_defaults(asked).evaluation

    assert fields(asked) == []
    assert filled is not None
    assert (filled.combinatorial_groups, filled.combinatorial_test_groups) == (6, 2)


def test_defaults_fill_what_was_left_out(spec: Callable[..., TrainingSpec]) -> None:
    filled = with_defaults(spec())

    assert filled.evaluation == replace(filled.evaluation, refit_interval_bars=252, embargo_bars=5)
    assert filled.queue == "default"
    assert (filled.resources.cpus, filled.resources.memory_bytes, filled.resources.gang_workers) == (
        1.0,
        1 << 30,
        1,
    )
