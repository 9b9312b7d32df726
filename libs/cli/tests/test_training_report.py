import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest
from mltrainer.cost_optimizer.v1.resources_pb2 import Bill, BillLine
from mltrainer.registry.v1.registry_service_pb2 import DownloadArtifactResponse, ListModelVersionsResponse
from mltrainer.registry.v1.resources_pb2 import ModelVersion
from mltrainer.scheduler.v1.resources_pb2 import Training
from mltrainer.trainer.v1.resources_pb2 import Attempt, AttemptResult, Trial
from mltrainer.trainer.v1.trainer_service_pb2 import ListAttemptsResponse, ListTrialsResponse
from mltrainer.types.v1.types_pb2 import (
    TARGET_KIND_LOG_REALIZED_VARIANCE,
    VERDICT_NO_EDGE,
    Metric,
    Target,
)
from mltrainer_cli.errors import CliError
from mltrainer_cli.report_facts import ReportFacts, collect
from mltrainer_cli.report_page import number, render
from mltrainer_cli.report_plots import drawdown
from mltrainer_models.diagnostics import (
    CalibrationBin,
    FeatureImportance,
    Gain,
    GainKind,
    LaggedCorrelation,
    ModelDiagnostics,
)

NOW = datetime(2026, 1, 5, tzinfo=UTC)
EVIL = "<script>alert(1)</script>"
DIAGNOSTICS = ModelDiagnostics(
    GainKind.STRATEGY_RETURN,
    (Gain(17_000, 0.02), Gain(17_005, -0.03), Gain(17_010, 0.04)),
    (LaggedCorrelation(0, 0.3, 0.01), LaggedCorrelation(5, 0.1, 0.01)),
    (CalibrationBin(10, -1.0, -0.8, 0.1), CalibrationBin(10, 1.0, 0.9, 0.1)),
    (FeatureImportance("log_variance_22", 0.4, 0.02), FeatureImportance(EVIL, 0.1, 0.01)),
    (0.015, -0.035, 0.035),
    EVIL,
    (0.01, 0.0, 0.01),
)


def training(name: str = "trainings/t1", state: Any = Training.STATE_COMPLETED) -> Training:
    found = Training(name=name, state=state, computation_key="k" * 64)
    found.spec.study = "studies/vol5"
    found.spec.symbols.extend(["AAPL", EVIL])
    found.spec.target.CopyFrom(Target(kind=TARGET_KIND_LOG_REALIZED_VARIANCE, horizon_bars=5))
    return found


def result() -> AttemptResult:
    found = AttemptResult(
        catalogue_id="ridge",
        parameters_json='{"alpha":0.12345678}',
        metrics=[Metric(name="rmse", value=0.9, standard_error=0.02), Metric(name="r2", value=0.45)],
        verdict=VERDICT_NO_EDGE,
        verdict_reason="within chance",
        study_trial_count=12,
        cpu_seconds=3.5,
        row_count=1000,
        loss_kind="one_minus_rank_correlation",
    )
    row = found.leaderboard.add(catalogue_id="ridge", chosen=True, metrics=found.metrics, loss=0.81)
    row.folds.add(row_count=500, metrics=[Metric(name="r2", value=0.41)])
    found.leaderboard.add(catalogue_id="broken", skipped_reason=EVIL)
    return found


def facts() -> ReportFacts:
    trials = [
        Trial(
            training="trainings/t1",
            catalogue_id="ridge",
            parameters_json='{"alpha":0.12345678}',
            objective=0.8,
        ),
        Trial(training="trainings/t1", catalogue_id="har", parameters_json="{}", objective=0.7),
    ]
    bill = BillLine(training="trainings/t1", billed_micros=1_500_000, idle_micros=250_000)
    return ReportFacts(
        training(),
        training(),
        result(),
        trials,
        ModelVersion(name="models/vol5/versions/3"),
        DIAGNOSTICS,
        bill,
    )


class Links(HTMLParser):
    """Collects everything that would make a browser ask for something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "link", "iframe", "object", "img"}:
            self.found.append(tag)
        links = {"src", "href", "xlink:href", "data", "action"}
        self.found += [
            f"{tag} {name}={value}" for name, value in attrs if name in links and (value or "")[:1] != "#"
        ]


def test_a_page_shows_every_section_and_asks_for_nothing() -> None:
    page = render(facts(), NOW)

    links = Links()
    links.feed(page)
    assert links.found == []
    assert "url(http" not in page
    for title in ("Leaderboard", "By fold: r2", "Equity curve and drawdown", "IC decay", "Calibration"):
        assert title in page
    for title in ("Feature importance", "Trial ledger", "Cost", "Definitions and inputs", "No edge"):
        assert title in page
    assert page.count("<svg") == 4
    assert "1.500000 USD" in page
    assert "alpha = 0.1235" in page


def test_what_others_wrote_is_shown_and_never_executed() -> None:
    page = render(facts(), NOW)

    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 3


def test_equal_facts_give_equal_pages() -> None:
    assert render(facts(), NOW) == render(facts(), NOW)


def test_trials_are_sorted_by_objective_and_metrics_are_defined() -> None:
    page = render(facts(), NOW)

    ledger = page[page.index("Trial ledger") :]
    assert ledger.index(">har<") < ledger.index(">ridge<")
    assert page.index("R²: 1 -") < page.index("Root of the mean squared error")


def test_a_page_names_the_loss_that_models_were_compared_by() -> None:
    page = render(facts(), NOW)

    assert "sorted by one minus rank correlation" in page
    assert "Objective: mean one minus rank correlation" in page
    assert "0.8100" in page
    assert "sorted by squared error" not in page


def test_returns_are_shown_before_and_after_costs_beside_the_baseline() -> None:
    page = render(facts(), NOW)

    assert "sum of 3 gains after costs" in page
    assert ">0.0150<" in page
    assert ">0.0300<" in page
    for label in ("before costs", "after costs", "baseline"):
        assert label in page[page.index("<svg") : page.index("</svg>")]


def test_combinatorial_paths_are_drawn_or_their_absence_is_explained() -> None:
    tested, skipped = result(), result()
    tested.combinatorial.groups, tested.combinatorial.test_groups, tested.combinatorial.folds = 3, 2, 3
    for value in (0.1, 0.3):
        tested.combinatorial.paths.add(metrics=[Metric(name="rank_ic", value=value)])
    skipped.combinatorial.skipped_reason = "BUDGET_EXHAUSTED"

    pages = [render(replace(facts(), result=one), NOW) for one in (tested, skipped, result())]

    assert "Combinatorial folds, 2 of 3 groups: 2 paths of 3 folds" in pages[0]
    assert [page.count("<svg") for page in pages] == [5, 4, 4]
    assert "BUDGET_EXHAUSTED" in pages[1]
    assert "Combinatorial purged paths" not in pages[2]


def test_a_version_without_figures_and_without_a_bill_says_so() -> None:
    page = render(replace(facts(), diagnostics=None, bill=None, version=None, trials=[]), NOW)

    assert "carries no figures" in page
    assert "<svg" not in page
    assert "Billed" not in page


def test_a_taken_result_is_nobodys_second_bill() -> None:
    page = render(replace(facts(), training=training("trainings/t2", Training.STATE_DEDUPLICATED)), NOW)

    assert "takes the result of t1" in page
    assert "nothing was computed or billed" in page


def test_a_drawdown_is_the_distance_to_the_highest_sum_before() -> None:
    assert drawdown([1.0, 3.0, 2.0, 4.0, 1.0]).tolist() == [0.0, 0.0, -1.0, 0.0, -3.0]
    assert drawdown([-1.0, -2.0]).tolist() == [-1.0, -2.0]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (float("nan"), "–"), (0.0, "0"), (0.12345, "0.1235"), (1e-6, "1.00e-06"), (250.0, "250.0")],
)
def test_numbers_are_written_as_people_read_them(value: float | None, text: str) -> None:
    assert number(value) == text


class Platform:
    """Answers as the services do."""

    def __init__(self, source: Training, attempts: list[Attempt]) -> None:
        version = ModelVersion(name="models/vol5/versions/3")
        version.manifest.files.add(path="diagnostics.json")
        other = Trial(training="trainings/other", catalogue_id="har")
        own = Trial(training=source.name, catalogue_id="ridge")
        self.asked: list[Any] = []
        self.scheduler = SimpleNamespace(GetTraining=self._answer(source))
        self.trainer = SimpleNamespace(
            ListAttempts=self._answer(ListAttemptsResponse(attempts=attempts)),
            ListTrials=self._answer(ListTrialsResponse(trials=[own, other])),
        )
        self.registry = SimpleNamespace(
            ListModelVersions=self._answer(ListModelVersionsResponse(model_versions=[version])),
            DownloadArtifact=self._stream,
        )
        line = BillLine(training=source.name, billed_micros=7)
        self.cost_optimizer = SimpleNamespace(GetBill=self._answer(Bill(lines=[line])))

    def _answer(self, message: Any) -> Any:
        async def answer(request: Any) -> Any:
            self.asked.append(request)
            return message

        return answer

    async def _stream(self, request: Any) -> Any:
        content = DIAGNOSTICS.to_bytes()
        for piece in (content[:10], content[10:]):
            yield DownloadArtifactResponse(data=piece)


def _attempts() -> list[Attempt]:
    return [
        Attempt(state=Attempt.STATE_FAILED),
        Attempt(state=Attempt.STATE_SUCCEEDED, result=result()),
    ]


def test_a_report_is_collected_from_the_training_that_computed() -> None:
    asked = training("trainings/t2", Training.STATE_DEDUPLICATED)
    asked.duplicate_of = "trainings/t1"
    platform: Any = Platform(training(), _attempts())

    found = asyncio.run(collect(platform, asked))

    assert (found.training.name, found.source.name) == ("trainings/t2", "trainings/t1")
    assert found.result.catalogue_id == "ridge"
    assert [one.catalogue_id for one in found.trials] == ["ridge"]
    assert found.diagnostics == DIAGNOSTICS
    assert found.bill is not None
    assert found.bill.billed_micros == 7


@pytest.mark.parametrize(
    ("state", "attempts"),
    [
        pytest.param(Training.STATE_QUEUED, [], id="waits"),
        pytest.param(
            Training.STATE_COMPLETED, [Attempt(state=Attempt.STATE_FAILED)], id="no success is known"
        ),
    ],
)
def test_a_training_without_a_result_has_no_report(state: Any, attempts: list[Attempt]) -> None:
    platform: Any = Platform(training(), attempts)

    with pytest.raises(CliError):
        asyncio.run(collect(platform, training(state=state)))
