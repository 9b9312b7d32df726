"""The command's frame: help that is fast, exit codes that mean something, errors of one sentence."""

import json
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from mltrainer_cli import command_groups, data_directory, doctor
from mltrainer_cli.console import print_rows
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.failures import explain
from mltrainer_cli.main import run
from mltrainer_cli.options import Output
from mltrainer_cli.stack import StackOptions
from mltrainer_cli.stack_options import parse_options
from mltrainer_common.errors import FieldViolation, RpcFailure, StartupError

HEAVY = {"grpc", "psutil", "aiokafka", "sqlalchemy", "pydantic", "jgo", "rich.progress"}


def test_help_imports_nothing_heavy_and_no_group() -> None:
    code = (
        "import sys; from mltrainer_cli.main import run; run(['--help']);"
        "groups = [name for name in sys.modules if name.startswith('mltrainer_cli.commands.')];"
        "print('groups:', *groups, file=sys.stderr);"
        f"print('heavy:', *({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stderr.splitlines() == ["groups:", "heavy:"]
    assert "doctor" in done.stdout


def test_every_installed_group_is_listed_and_loads(capsys: pytest.CaptureFixture[str]) -> None:
    installed = [name for name in command_groups.GROUPS if command_groups.is_installed(name)]

    codes = [run([name, "--help"]) for name in installed]
    capsys.readouterr()
    run(["--help"])
    listed = capsys.readouterr().out

    assert codes == [ExitCode.OK] * len(installed)
    assert [name for name in installed if name not in listed] == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(["status"], ExitCode.NOT_RUNNING, "start it with `mltrainer up`", id="status"),
        pytest.param(["nothing"], ExitCode.USAGE, "No such command 'nothing'", id="unknown command"),
        pytest.param(["up", "--services", "nothing"], ExitCode.USAGE, "no service 'nothing'", id="service"),
        pytest.param(["up", "--replicas", "serving=none"], ExitCode.USAGE, "SERVICE=N", id="replicas"),
        pytest.param(["up", "--kafka-port", "0"], ExitCode.USAGE, "--kafka-port", id="port range"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: ExitCode, words: str
) -> None:
    command, *rest = arguments
    options = [] if command == "nothing" else ["--data-directory", str(tmp_path)]

    assert run([command, *options, *rest]) == code

    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        pytest.param(
            RpcFailure(grpc.StatusCode.UNAVAILABLE, "refused", peer="registry"),
            ExitCode.NOT_RUNNING,
            "registry cannot be reached",
            id="unavailable",
        ),
        pytest.param(
            RpcFailure(
                grpc.StatusCode.INVALID_ARGUMENT,
                "bad request",
                reason="BAD_UNIVERSE",
                field_violations=[FieldViolation("symbols", "must not be empty")],
            ),
            ExitCode.REJECTED,
            "bad request (symbols: must not be empty) [BAD_UNIVERSE]",
            id="invalid",
        ),
        pytest.param(
            RpcFailure(grpc.StatusCode.NOT_FOUND, "no models/x"),
            ExitCode.NOT_FOUND,
            "no models/x",
            id="absent",
        ),
        pytest.param(StartupError("run chmod"), ExitCode.PRECONDITION, "run chmod", id="startup"),
        pytest.param(OSError(28, "full", "/x"), ExitCode.PRECONDITION, "(/x): the disk is full", id="disk"),
    ],
)
def test_an_expected_error_is_explained(error: Exception, code: ExitCode, words: str) -> None:
    explained = explain(error)

    assert explained is not None
    assert explained.code is code
    assert words in explained.message


def test_an_error_nobody_foresaw_is_not_hidden() -> None:
    assert explain(ZeroDivisionError()) is None


def test_a_data_directory_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    (tmp_path / "schema").write_text(f"{data_directory.SCHEMA + 1}\n")

    with pytest.raises(CliError, match=r"written by a newer release .* upgrade mltrainer"):
        DataDirectory(tmp_path).prepare()


def test_a_full_disk_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_directory, "LOWEST_FREE_BYTES", 2**62)

    with pytest.raises(CliError, match=r"The disk is full: .* choose another --data-directory"):
        DataDirectory(tmp_path).prepare()


def test_a_prepared_directory_keeps_its_mark_and_is_for_its_owner_only(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")

    data.prepare()
    first = data.stack_id
    data.prepare()

    assert data.stack_id == first
    assert data.path.stat().st_mode & 0o077 == 0


def test_options_of_a_stack_survive_the_way_to_the_supervisor() -> None:
    options = StackOptions(("serving",), {"serving": 2}, 9092, {"MLTRAINER_TRACE_RATIO": "0.01"})

    assert StackOptions.from_json(options.to_json()) == options


def test_no_service_at_all_is_a_broker_alone() -> None:
    assert parse_options("", [], None) == StackOptions(services=())


def test_doctor_gives_advice_for_everything_that_is_not_well(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    data.schema_file.write_text("99")
    data.endpoints_file.write_text("{")

    checks = [check(data) for check in doctor.CHECKS]

    failed = {one.name for one in checks if one.finding is doctor.Finding.FAILED}
    assert failed == {"data directory", "endpoints"}
    assert all(one.advice for one in checks if one.finding is not doctor.Finding.OK)


def test_doctor_exits_with_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "schema").write_text("99")

    code = run(["doctor", "--data-directory", str(tmp_path), "--output", "json"])

    captured = capsys.readouterr()
    assert code == ExitCode.CLAIM_FAILED
    assert {"check", "finding", "found", "what_to_do"} == set(json.loads(captured.out)[0])
    assert captured.err == "mltrainer: data directory: do what the table says.\n"


def test_a_table_shows_markup_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([{"name": "[bold]x", "share": 0.123456}], ("name", "share", "absent"), Output.TABLE)

    out = capsys.readouterr().out
    assert "[bold]x" in out
    assert "0.1235" in out
