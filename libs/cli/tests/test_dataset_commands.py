"""What `mltrainer datasets` asks of the feature service and makes of its answers."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mltrainer.feature.v1 import feature_service_pb2 as service_pb2
from mltrainer.feature.v1 import resources_pb2
from mltrainer.types.v1 import types_pb2
from mltrainer_cli.commands import datasets
from mltrainer_cli.errors import ExitCode
from mltrainer_cli.main import run


def _dataset() -> resources_pb2.Dataset:
    target = types_pb2.Target(kind=types_pb2.TARGET_KIND_LOG_REALIZED_VARIANCE, horizon_bars=5)
    universe = resources_pb2.Universe(
        ended_symbols=[resources_pb2.SymbolEdge(symbol="LEH")],
        statement="Ended inside the span: LEH (2008-09-15).",
    )
    return resources_pb2.Dataset(
        name="datasets/d1",
        state=resources_pb2.Dataset.STATE_ACTIVE,
        spec=resources_pb2.DatasetSpec(symbols=["AAPL", "LEH"], target=target),
        row_count=7,
        universe=universe,
    )


class FakeFeature:
    """Has one dataset, and remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    @property
    def feature(self) -> "FakeFeature":
        return self

    async def ListDatasets(self, request: Any) -> service_pb2.ListDatasetsResponse:
        self.requests.append(request)
        return service_pb2.ListDatasetsResponse(datasets=[_dataset()])

    async def GetDataset(self, request: Any) -> resources_pb2.Dataset:
        self.requests.append(request)
        return _dataset()

    async def CreateDataset(self, request: Any) -> resources_pb2.Dataset:
        self.requests.append(request)
        return _dataset()

    async def CancelDataset(self, request: Any) -> resources_pb2.Dataset:
        self.requests.append(request)
        return _dataset()

    async def CollectDatasets(self, request: Any) -> service_pb2.CollectDatasetsResponse:
        self.requests.append(request)
        return service_pb2.CollectDatasetsResponse(
            idle_count=3,
            referenced_count=2,
            collected_count=1,
            collected_bytes=1234,
            datasets=["datasets/d1"],
        )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeFeature:
    import asyncio

    found = FakeFeature()

    def call(_data: object, ask: Callable[[FakeFeature], Awaitable[Any]]) -> Any:
        async def answer() -> Any:
            return await ask(found)

        return asyncio.run(answer())

    monkeypatch.setattr(datasets, "call", call)
    return found


def test_datasets_are_listed_with_their_target(fake: FakeFeature, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["datasets", "list", "--limit", "3"]) == ExitCode.OK

    shown = capsys.readouterr().out
    assert fake.requests == [service_pb2.ListDatasetsRequest(page_size=3)]
    assert "d1" in shown
    assert "ACTIVE" in shown


def test_a_dataset_tells_who_left_the_market(fake: FakeFeature, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["datasets", "show", "d1"]) == ExitCode.OK

    shown = capsys.readouterr().out
    assert fake.requests == [service_pb2.GetDatasetRequest(name="datasets/d1")]
    assert "ended" in shown
    assert "Ended inside the span: LEH (2008-09-15)." in shown


def test_a_dataset_is_asked_for_by_views_features_and_services(
    fake: FakeFeature, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--symbol", "AAPL", "--symbol", "LEH", "--view", "trade_context:variance_slope"]
    times = ["--as-of", "2022-06-01", "--start", "2020-01-01"]

    code = run(["datasets", "create", *options, "--service", "desk_v1", "--horizon", "3", *times])

    spec = fake.requests[0].spec
    assert code == ExitCode.OK
    assert list(spec.symbols) == ["AAPL", "LEH"]
    assert list(spec.feature_views) == ["trade_context:variance_slope", "featureServices/desk_v1"]
    kind = types_pb2.TARGET_KIND_LOG_REALIZED_VARIANCE
    assert (spec.target.kind, spec.target.horizon_bars) == (kind, 3)
    assert spec.as_of.ToJsonString() == "2022-06-01T00:00:00Z"
    assert spec.start_time.ToJsonString() == "2020-01-01T00:00:00Z"
    assert "datasets/d1" in capsys.readouterr().out


def test_a_kind_of_target_that_is_none_is_refused_here(
    fake: FakeFeature, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["datasets", "create", "--symbol", "A", "--as-of", "2022-06-01", "--target", "luck"])

    assert (code, fake.requests) == (ExitCode.USAGE, [])
    assert "luck is no kind of target" in capsys.readouterr().err


def test_a_dataset_can_be_stopped(fake: FakeFeature, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["datasets", "cancel", "d1", "--output", "json"]) == ExitCode.OK

    assert json.loads(capsys.readouterr().out)["state"] == "ACTIVE"
    assert fake.requests == [service_pb2.CancelDatasetRequest(name="datasets/d1")]


@pytest.mark.parametrize(
    ("options", "dry_run", "grace_s", "told"),
    [
        pytest.param([], True, 0, "would be removed", id="only looking"),
        pytest.param(["--apply", "--older-than-days", "2"], False, 172_800, "bytes removed", id="removing"),
    ],
)
def test_collecting_looks_first_and_removes_when_told(
    fake: FakeFeature,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    dry_run: bool,
    grace_s: int,
    told: str,
) -> None:
    assert run(["datasets", "collect", *options]) == ExitCode.OK

    shown = " ".join(capsys.readouterr().out.split())
    assert (fake.requests[0].dry_run, fake.requests[0].grace.seconds) == (dry_run, grace_s)
    assert "3 not asked for of late, 2 of them kept for their models; 1 with 1,234 bytes" in shown
    assert told in shown
