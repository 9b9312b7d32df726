"""`mltrainer chaos`: files, narration, and what it says without a stack."""

import json
from pathlib import Path

import pytest
from mltrainer.chaos.v1.resources_pb2 import ChaosRun
from mltrainer_cli.chaos_runs import Narration, read_experiment, run_to_json, summary
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.main import run

SECOND = 1_767_624_600


def a_run() -> ChaosRun:
    found = ChaosRun(name="chaosRuns/r1", title="t", state=ChaosRun.STATE_EXECUTING, actor="users/sre")
    for index, (probe, passed) in enumerate([("a", True), ("b", True), ("a", False), ("b", True)]):
        record = found.probes.add(probe=probe, phase="during", passed=passed, output="False")
        record.probe_time.seconds = SECOND + index
    fault = found.faults.add(fault="kill-serving", target="serving-0 (pid 7)")
    fault.inject_time.seconds, fault.inject_time.nanos = SECOND + 1, 500_000_000
    return found


def test_yaml_becomes_json_and_json_stays_as_it_is(tmp_path: Path) -> None:
    yaml, plain = tmp_path / "e.yaml", tmp_path / "e.json"
    yaml.write_text("title: t\nmethod:\n  - name: kill\n    background: true\n")
    plain.write_text('{"title":  "t"}')

    assert json.loads(read_experiment(yaml)) == {
        "title": "t",
        "method": [{"name": "kill", "background": True}],
    }
    assert read_experiment(plain) == '{"title":  "t"}'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("e.yaml", b"{", id="broken"),
        pytest.param("e.yml", b"!!python/object/apply:os.system ['true']", id="code"),
        pytest.param("e.json", b"\xff", id="bytes"),
        pytest.param("absent.json", None, id="absent"),
    ],
)
def test_a_file_that_is_no_experiment_is_one_sentence(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(CliError) as caught:
        read_experiment(file)

    assert caught.value.code is ExitCode.USAGE
    assert str(file) in caught.value.message


def test_the_narration_tells_each_turn_once_and_in_order() -> None:
    lines: list[str] = []
    narrate, found = Narration(lines.append), a_run()

    narrate(found)
    narrate(found)
    found.state, found.verdict = ChaosRun.STATE_FINISHED, "DEVIATED"
    narrate(found)

    assert lines == [
        "chaosRuns/r1 is executing",
        "  14:50:00.000 during: a holds",
        "  14:50:01.000 during: b holds",
        "  14:50:01.500 kill-serving hits serving-0 (pid 7)",
        "  14:50:02.000 during: a does not hold: False",
        "chaosRuns/r1 is finished",
    ]


def test_json_has_experiment_and_journal_as_objects() -> None:
    found = a_run()
    found.experiment_json, found.journal_json, found.recovery_s = '{"title": "t"}', '{"run": []}', 1.23456

    shown = run_to_json(found)

    assert (shown["experiment"], shown["journal"]) == ({"title": "t"}, {"run": []})
    assert (shown["state"], shown["recovery_s"]) == ("executing", 1.235)
    assert summary(found)["targets"] == "serving-0 (pid 7)"


def test_without_a_stack_the_commands_say_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["chaos", "list", "--data-directory", str(tmp_path)])

    assert code == ExitCode.NOT_RUNNING
    assert "mltrainer up" in capsys.readouterr().err
