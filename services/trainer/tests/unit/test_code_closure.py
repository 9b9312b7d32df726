import subprocess
import sys
from pathlib import Path

import pytest
from mltrainer_trainer.adapters.code_closure import closure, closure_digest
from mltrainer_trainer.adapters.code_identity import SOURCES

RULE = '''
from pkg_under_digest.limits import LIMIT
NAMED = "pkg_under_digest.named:Model"

def rule(value):
    """Says whether."""
    if value > LIMIT:
        return {"a": 1, "b": 2}
    return None
'''
LAID_OUT = '''# A comment.
from pkg_under_digest.limits import (
    LIMIT,
)

NAMED = 'pkg_under_digest.named:Model'


def rule(value):
    """Tells it in other words.

    At length.
    """
    if (value > LIMIT):  # another
        return {
            "a": 1,
            "b": 2,
        }
    return None
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "pkg_under_digest"
    root.mkdir()
    (root / "__init__.py").write_text("")
    (root / "rule.py").write_text(RULE)
    (root / "limits.py").write_text("def _base():\n    import pkg_under_digest.inner\nLIMIT = 1\n")
    (root / "inner.py").write_text("INNER = 1\n")
    (root / "named.py").write_text("Model = 1\n")
    (root / "unrelated.py").write_text("OTHER = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    return root


def _digest() -> str:
    return closure_digest(closure(["pkg_under_digest.rule"], prefix="pkg_under_digest"))


def test_a_closure_follows_imports_inside_functions_and_modules_named_by_strings(package: Path) -> None:
    found = closure(["pkg_under_digest.rule"], prefix="pkg_under_digest")

    assert {name.removeprefix("pkg_under_digest") for name in found} == {
        "",
        ".rule",
        ".limits",
        ".inner",
        ".named",
    }


def test_layout_comments_and_docstrings_do_not_change_a_digest(package: Path) -> None:
    before = _digest()

    (package / "rule.py").write_text(LAID_OUT)

    assert _digest() == before


@pytest.mark.parametrize("module", ["rule", "limits", "inner", "named"])
def test_a_changed_number_anywhere_in_the_closure_changes_the_digest(package: Path, module: str) -> None:
    before = _digest()

    path = package / f"{module}.py"
    path.write_text(path.read_text().replace("1", "2"))

    assert _digest() != before


def test_what_is_not_imported_does_not_change_a_digest(package: Path) -> None:
    before = _digest()

    (package / "unrelated.py").write_text("OTHER = 2\n")

    assert _digest() == before


def test_a_data_file_of_a_package_belongs_to_its_digest(package: Path) -> None:
    before = _digest()

    (package / "entries.toml").write_text("[model]\n")

    assert _digest() != before


def test_an_equal_package_elsewhere_has_the_same_digest(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _digest()

    moved = tmp_path / "elsewhere"
    moved.mkdir()
    package.rename(moved / package.name)
    monkeypatch.syspath_prepend(moved)

    assert _digest() == before


def test_every_project_module_that_computing_loads_is_in_the_closure() -> None:
    code = (
        "import sys; import mltrainer_trainer.domain.training, mltrainer_trainer.adapters.estimators as e;"
        "from mltrainer_trainer.domain.catalogue import CATALOGUE\n"
        "for entry in CATALOGUE:\n    e.unavailable_reason(entry)\n"
        "print(*(name for name in sys.modules if name.startswith('mltrainer_')))"
    )

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert set(done.stdout.split()) <= set(closure(SOURCES))
