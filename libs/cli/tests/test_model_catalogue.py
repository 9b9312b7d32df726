"""`mltrainer models catalogue` over a trainer's answer."""

import json
from typing import Any

import pytest
from mltrainer.trainer.v1.resources_pb2 import CatalogueEntry
from mltrainer.types.v1.types_pb2 import TARGET_KIND_EXCESS_RETURN
from mltrainer_cli.commands import model_catalogue
from mltrainer_cli.errors import ExitCode
from mltrainer_cli.main import run

ENTRIES = [
    CatalogueEntry(
        id="ridge",
        family="linear",
        target_kinds=[TARGET_KIND_EXCESS_RETURN],
        task=CatalogueEntry.TASK_REGRESSION,
        serves_row_by_row=True,
        min_rows=250,
    ),
    CatalogueEntry(
        id="garch",
        family="volatility",
        task=CatalogueEntry.TASK_VOLATILITY,
        extra="catalogue",
        unavailable_reason="arch is not installed; install it: pip install 'mltrainer-trainer[catalogue]'",
    ),
]


@pytest.fixture(autouse=True)
def _trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_catalogue, "call", lambda _data, _ask: ENTRIES)


def ask(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    assert run(["models", "catalogue", *options, "--output", "json"]) == ExitCode.OK
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_every_model_is_listed_with_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    ridge, garch = ask(capsys)

    assert (ridge["id"], ridge["task"], ridge["target_kinds"]) == ("ridge", "REGRESSION", ["EXCESS_RETURN"])
    assert ridge["serves_row_by_row"]
    assert not garch["serves_row_by_row"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(("--task", "volatility"), ["garch"], id="task"),
        pytest.param(("--family", "linear"), ["ridge"], id="family"),
        pytest.param(("--usable",), ["ridge"], id="usable"),
        pytest.param(("--task", "regression", "--family", "volatility"), [], id="both"),
    ],
)
def test_options_narrow_the_list(
    options: tuple[str, ...], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert [entry["id"] for entry in ask(capsys, *options)] == expected


def test_the_table_says_how_to_install_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "catalogue"]) == ExitCode.OK

    shown = capsys.readouterr().out
    assert "batch" in shown
    assert "pip install 'mltrainer-trainer[catalogue]'" in " ".join(shown.split())


def test_a_task_unheard_of_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "catalogue", "--task", "divination"]) == ExitCode.USAGE

    assert "it has regression, volatility" in " ".join(capsys.readouterr().err.split())
