"""Processes are recognised, reaped and ended for certain."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from mltrainer_trainer.adapters.attempt_directory import AttemptDirectory
from mltrainer_trainer.adapters.code_identity import code_digest, environment_digest
from mltrainer_trainer.adapters.model_release import released_models, unavailable_reason
from mltrainer_trainer.adapters.processes import (
    Children,
    ProcessExit,
    ProcessId,
    is_alive,
    signal_group,
    spawn,
    start_mark,
)


def run(program: str, directory: Path) -> ProcessId:
    pid = spawn((sys.executable, "-S", "-c", program), os.environ, directory / "log")
    return ProcessId(pid, start_mark(pid) or "")


def ended(children: Children, process: ProcessId) -> ProcessExit:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if (found := children.ended(process)) is not None:
            return found
        time.sleep(0.01)
    raise TimeoutError


def test_a_child_tells_how_it_ended_and_what_it_used(tmp_path: Path) -> None:
    children = Children()
    process = run("import sys; print('said'); sys.exit(3)", tmp_path)
    children.add(process.pid)

    exit_of = ended(children, process)

    assert exit_of.code == 3
    assert exit_of.cpu_seconds is not None
    assert (tmp_path / "log").read_text() == "said\n"


def test_a_killed_child_shows_the_signal_and_is_gone(tmp_path: Path) -> None:
    children = Children()
    process = run("import time; time.sleep(60)", tmp_path)
    children.add(process.pid)

    alive = children.ended(process)
    signal_group(process, signal.SIGKILL)

    assert alive is None
    assert ended(children, process).code == -signal.SIGKILL
    assert not is_alive(process)


def test_the_children_of_a_process_end_with_it(tmp_path: Path) -> None:
    children = Children()
    program = (
        "import subprocess, sys, time, pathlib;"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)']);"
        f"pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(child.pid));"
        "time.sleep(60)"
    )
    process = run(program, tmp_path)
    children.add(process.pid)
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
        time.sleep(0.01)
    grandchild = int((tmp_path / "child").read_text())

    signal_group(process, signal.SIGKILL)
    ended(children, process)

    until = time.monotonic() + 20
    while start_mark(grandchild) is not None and time.monotonic() < until:
        time.sleep(0.01)
    assert start_mark(grandchild) is None


def test_a_process_of_the_same_number_is_not_the_same_process() -> None:
    own = ProcessId(os.getpid(), start_mark(os.getpid()) or "")

    assert is_alive(own)
    assert not is_alive(ProcessId(own.pid, "another"))


def test_a_directory_gives_back_what_was_written(tmp_path: Path) -> None:
    directory = AttemptDirectory(tmp_path / "t1.1.1")
    directory.create(b"order", {1: 0.5})

    nobody = directory.process()
    directory.write_process(ProcessId(7, "mark"))

    assert (nobody, directory.process()) == (None, ProcessId(7, "mark"))
    assert (directory.order(), directory.devices()) == (b"order", {1: 0.5})
    assert not list(directory.path.glob("*.draft"))


def test_a_changed_source_changes_the_code_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "digested_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "rule.py").write_text("LIMIT = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = code_digest(("digested_package",))

    unchanged = code_digest(("digested_package",))
    (package / "rule.py").write_text("LIMIT = 2\n")

    assert before == unchanged
    assert code_digest(("digested_package",)) != before


def test_a_new_distribution_changes_the_environment_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = environment_digest()
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "something-1.2.dist-info").mkdir()

    assert environment_digest() != before


def test_the_catalogue_is_released_without_importing_estimators() -> None:
    models = released_models()

    assert {"persistence", "har", "ridge"} <= {model.id for model in models if not model.unavailable_reason}
    assert unavailable_reason("no_such_package") == "no_such_package is not installed"
