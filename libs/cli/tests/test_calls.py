"""Answers of services as JSON, pages, money, and training requests of files and options."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from mltrainer.cost_optimizer.v1.resources_pb2 import Bill
from mltrainer.experiment.v1.resources_pb2 import ExperimentResult
from mltrainer.registry.v1.resources_pb2 import Model, ModelVersion
from mltrainer.scheduler.v1.events_pb2 import TrainingRequested
from mltrainer.scheduler.v1.resources_pb2 import Training
from mltrainer.types.v1.types_pb2 import TARGET_KIND_EXCESS_RETURN
from mltrainer_cli.calls import all_pages, full_name, short, to_json, to_second, usd
from mltrainer_cli.commands.costs import bill_to_json
from mltrainer_cli.commands.models import model_row, pointing, version_row
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.training_request import merge, read_request_file, to_request


def test_an_answer_has_plain_numbers_and_states_without_prefix() -> None:
    training = Training(name="trainings/a", state=Training.STATE_FAILED, revision=1 << 60)
    training.spec.target.kind = TARGET_KIND_EXCESS_RETURN
    training.spec.labels["1"] = "one"
    training.create_time.FromJsonString("2026-01-05T14:30:00Z")

    fields = to_json(training)

    assert (fields["state"], fields["revision"]) == ("FAILED", 1 << 60)
    assert fields["spec"]["target"] == {"kind": "EXCESS_RETURN", "horizon_bars": 0}
    assert fields["spec"]["labels"] == {"1": "one"}
    assert fields["create_time"] == "2026-01-05T14:30:00Z"


def test_json_has_no_infinity() -> None:
    assert to_json(ExperimentResult(effect_upper=float("inf")))["effect_upper"] is None


@pytest.mark.parametrize(
    ("micros", "text"),
    [(0, "0.000000"), (1_234_567, "1.234567"), (-5, "-0.000005"), (10**15, "1000000000.000000")],
)
def test_money_is_written_exactly(micros: int, text: str) -> None:
    assert usd(micros) == text


def test_an_id_becomes_a_name_and_a_name_stays() -> None:
    assert full_name("models", "vol5") == full_name("models", "models/vol5") == "models/vol5"


@pytest.mark.parametrize(("limit", "sizes"), [(1_000, [1_000, 997, 994]), (5, [5, 2])])
async def test_pages_are_read_until_there_is_enough(limit: int, sizes: list[int]) -> None:
    asked: list[int] = []

    async def fetch(size: int, token: str) -> tuple[Sequence[int], str]:
        asked.append(size)
        start = int(token or 0)
        page = list(range(start, min(start + min(3, size), 8)))
        return page, str(page[-1] + 1) if page[-1] < 7 else ""

    found = await all_pages(fetch, limit)

    assert found == list(range(min(8, limit)))
    assert asked == sizes


def test_a_bill_is_summed_by_study() -> None:
    bill = Bill(total_micros=60, idle_micros=15)
    for study, billed, idle in (("studies/a", 10, 5), ("studies/b", 30, 0), ("studies/a", 20, 10)):
        bill.lines.add(study=study, billed_micros=billed, idle_micros=idle, used_cpu_seconds=1.5)

    studies = bill_to_json(bill)["studies"]

    assert [(one["study"], one["trainings"], one["billed_micros"]) for one in studies] == [
        ("studies/a", 2, 30),
        ("studies/b", 1, 30),
    ]
    assert [one["idle_share"] for one in studies] == [0.5, 0.0]
    assert studies[0]["used_cpu_seconds"] == 3.0


def test_options_win_over_the_file_and_what_was_not_given_is_left_out() -> None:
    fields = {"study": "studies/a", "search": {"models": ["ridge"], "seed": 1}, "owner": "file"}
    options = {
        "study": "",
        "search": {"seed": 7, "models": None},
        "priority": 0,
        "budget": {"cost_usd": None},
    }

    assert merge(fields, options) == {
        "study": "studies/a",
        "search": {"models": ["ridge"], "seed": 7},
        "owner": "file",
        "priority": 0,
    }


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "study: studies/a\nas_of: 2022-12-28\ntarget: {kind: excess_return, horizon_bars: 5}\n"
            "symbols: [AAPL]\nsearch: {models: [ridge], seed: 7}\n",
            id="yaml",
        ),
        pytest.param(
            '{"study": "studies/a", "as_of": "2022-12-28T00:00:00Z", "symbols": ["AAPL"],'
            '"target": {"kind": "TARGET_KIND_EXCESS_RETURN", "horizon_bars": 5},'
            '"search": {"models": ["ridge"], "seed": "7"}}',
            id="json",
        ),
    ],
)
def test_a_file_becomes_a_request(tmp_path: Path, text: str) -> None:
    (tmp_path / "request").write_text(text)

    request = to_request(read_request_file(tmp_path / "request"))

    expected = TrainingRequested(study="studies/a", symbols=["AAPL"])
    expected.target.kind, expected.target.horizon_bars = TARGET_KIND_EXCESS_RETURN, 5
    expected.as_of.FromDatetime(datetime(2022, 12, 28, tzinfo=UTC))
    expected.search.models.append("ridge")
    expected.search.seed = 7
    assert request == expected


def test_dates_and_times_without_a_zone_are_utc() -> None:
    naive = datetime(2022, 1, 3, 21)  # noqa: DTZ001 - what the command line gives

    request = to_request({"as_of": naive, "evaluation": {"first_test_time": date(2015, 1, 1)}})

    assert request.as_of.ToJsonString() == "2022-01-03T21:00:00Z"
    assert request.evaluation.first_test_time.ToJsonString() == "2015-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("- a\n- b\n", "one mapping", id="a list"),
        pytest.param("a: [", "neither YAML nor JSON", id="torn"),
        pytest.param("\x00", "neither YAML nor JSON", id="binary"),
    ],
)
def test_a_file_that_is_no_request_is_refused_in_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "request").write_text(text)

    with pytest.raises(CliError, match=words) as refused:
        read_request_file(tmp_path / "request")

    assert refused.value.code is ExitCode.USAGE


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="Could not read the training request"):
        read_request_file(tmp_path / "none")


@pytest.mark.parametrize(
    "fields",
    [{"studdy": "studies/a"}, {"priority": "high"}, {"target": {"kind": "nothing"}}, {"as_of": "yesterday"}],
)
def test_an_unknown_field_or_a_value_of_another_type_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(CliError, match="not well formed") as refused:
        to_request(fields)

    assert refused.value.code is ExitCode.USAGE


def test_tables_show_ids_and_seconds() -> None:
    assert short("models/vol5/versions/3") == "3"
    assert short("") == ""
    assert to_second("2026-01-05T14:30:00.123456Z") == "2026-01-05T14:30:00Z"
    assert to_second("2026-01-05T14:30:00Z") == "2026-01-05T14:30:00Z"
    assert to_second(None) is None


def test_an_alias_points_by_number_and_several_may_point_to_one_version() -> None:
    model = Model(name="models/vol5", version_count=1)
    for alias in ("champion", "challenger"):
        model.aliases.add(name=f"models/vol5/aliases/{alias}", version="models/vol5/versions/1")
    version = ModelVersion(name="models/vol5/versions/1", number=1, state=ModelVersion.STATE_ACTIVE)

    row = version_row(version, pointing(model))

    assert (row["version"], row["state"], row["aliases"]) == (1, "ACTIVE", "champion, challenger")
    assert model_row(to_json(model))["aliases"] == "champion → 1, challenger → 1"
