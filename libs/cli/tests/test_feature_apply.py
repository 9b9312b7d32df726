"""`mltrainer features apply`: what it reads, shows and sends."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mltrainer.feature.v1 import feature_service_pb2 as service_pb2
from mltrainer_cli.commands import feature_apply
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.feature_definitions import read_definitions
from mltrainer_cli.main import run

EXAMPLE = Path(__file__).parents[3] / "examples" / "features.yaml"
Change = service_pb2.DefinitionChange


class FakeFeature:
    """Answers with one plan, and remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[service_pb2.ApplyFeatureDefinitionsRequest] = []
        self.changes = [
            Change(
                name="onDemandFeatureViews/desk_spread",
                action=Change.ACTION_UPDATE,
                version=2,
                differences=["- feature slope: a", "+ feature slope: b"],
            ),
            Change(name="featureServices/desk_v1", action=Change.ACTION_KEEP, version=1),
        ]

    @property
    def feature(self) -> "FakeFeature":
        return self

    async def ApplyFeatureDefinitions(self, request: Any) -> service_pb2.ApplyFeatureDefinitionsResponse:
        sent = service_pb2.ApplyFeatureDefinitionsRequest()
        sent.CopyFrom(request)
        self.requests.append(sent)
        etag = "7" if request.validate_only else "8"
        return service_pb2.ApplyFeatureDefinitionsResponse(changes=self.changes, etag=etag)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeFeature:
    found = FakeFeature()

    def call(_data: object, ask: Callable[[FakeFeature], Awaitable[Any]]) -> Any:
        async def answer() -> Any:
            return await ask(found)

        return asyncio.run(answer())

    monkeypatch.setattr(feature_apply, "call", call)
    return found


def test_the_example_is_read_as_the_contract_has_it() -> None:
    request = read_definitions(EXAMPLE)

    (view,), (service,) = request.on_demand_views, request.feature_services
    assert [field.name for field in view.request_fields] == ["quote_distance"]
    assert [(one.feature.name, one.feature.unit) for one in view.features] == [
        ("variance_trend", "RATIO"),
        ("quote_in_volatilities", "RATIO"),
    ]
    assert view.features[0].expression == "log_variance_5 - log_variance_22"
    assert service.features[2] == "desk_spread:quote_in_volatilities"


def test_the_plan_is_shown_and_that_plan_is_applied(
    fake: FakeFeature, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["features", "apply", str(EXAMPLE), "--prune"])

    assert code == ExitCode.OK
    assert capsys.readouterr().out.splitlines() == [
        "~ onDemandFeatureViews/desk_spread (version 2)",
        "    - feature slope: a",
        "    + feature slope: b",
        "  featureServices/desk_v1 (version 1)",
        "Applied: 1 changed.",
    ]
    assert [(one.validate_only, one.etag, one.prune) for one in fake.requests] == [
        (True, "", True),
        (False, "7", True),
    ]


def test_a_dry_run_changes_nothing(fake: FakeFeature, capsys: pytest.CaptureFixture[str]) -> None:
    run(["features", "apply", str(EXAMPLE), "--dry-run"])

    assert [one.validate_only for one in fake.requests] == [True]
    assert capsys.readouterr().out.endswith("Would apply: 1 changed.\n")


def test_a_file_that_is_applied_already_sends_nothing_more(
    fake: FakeFeature, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.changes = fake.changes[1:]

    run(["features", "apply", str(EXAMPLE)])

    assert [one.validate_only for one in fake.requests] == [True]
    assert capsys.readouterr().out.endswith("Nothing to change.\n")


def test_programs_get_one_document(fake: FakeFeature, capsys: pytest.CaptureFixture[str]) -> None:
    run(["features", "apply", str(EXAMPLE), "--output", "json"])

    found = json.loads(capsys.readouterr().out)
    assert (found["applied"], found["etag"]) == (True, "8")
    assert [change["action"] for change in found["changes"]] == ["UPDATE", "KEEP"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("[1, 2]", "must hold on_demand_views and feature_services", id="a list"),
        pytest.param("views: []", "must hold on_demand_views and feature_services", id="another key"),
        pytest.param("{", "neither YAML nor JSON", id="no YAML"),
        pytest.param(
            "feature_services: [{name: a, version: 3}]", "take .*, and no version", id="not the file's to say"
        ),
        pytest.param(
            "on_demand_views: [{name: a, features: [{name: b, formula: c}]}]", "formula", id="unknown field"
        ),
        pytest.param("on_demand_views: [desk]", "features.yaml", id="no mapping"),
        pytest.param("feature_services: [{name: 7}]", "features.yaml", id="another type"),
    ],
)
def test_a_file_that_declares_something_else_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "features.yaml"
    file.write_text(text)

    with pytest.raises(CliError, match=problem) as caught:
        read_definitions(file)

    assert caught.value.code == ExitCode.USAGE
