import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mltrainer_trainer.adapters.code_closure import closure, closure_digest
from mltrainer_trainer.adapters.code_identity import SOURCES
from mltrainer_trainer.adapters.source_cache import SourceCache

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


def _remembered(memory: Path, later_s: float = 60.0) -> str:
    """Digests with what the file remembers, at a time when all files have settled."""
    cache = SourceCache(memory, lambda: time.time() + later_s)
    found = closure(["pkg_under_digest.rule"], prefix="pkg_under_digest", read=cache.read)
    cache.save()
    return closure_digest(found)


def test_unchanged_sources_are_not_parsed_again_and_have_the_same_digest(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, before = tmp_path / "sources.json", _digest()
    first = _remembered(memory)

    monkeypatch.setattr("mltrainer_trainer.adapters.source_cache.read_source", None)

    assert first == _remembered(memory) == before


def test_a_change_that_keeps_size_and_time_of_modification_is_seen(package: Path, tmp_path: Path) -> None:
    memory, path = tmp_path / "sources.json", package / "limits.py"
    before = _remembered(memory)
    status = path.stat()

    path.write_text(path.read_text().replace("1", "2"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert path.stat().st_size == status.st_size
    assert _remembered(memory) == _digest() != before


def test_a_module_that_appears_where_a_string_named_none_is_seen(package: Path, tmp_path: Path) -> None:
    (package / "named.py").unlink()
    memory = tmp_path / "sources.json"
    before = _remembered(memory)

    (package / "named.py").write_text("Model = 1\n")

    assert _remembered(memory) == _digest() != before


def test_what_changed_moments_ago_is_not_remembered(package: Path, tmp_path: Path) -> None:
    memory = tmp_path / "sources.json"

    _remembered(memory, later_s=-1.0)

    assert not memory.exists()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"reader": [], "sources": {}}'])
def test_a_memory_that_is_damaged_or_of_another_reader_is_forgotten(
    package: Path, tmp_path: Path, content: bytes
) -> None:
    memory = tmp_path / "sources.json"
    memory.write_bytes(content)

    assert _remembered(memory) == _digest()
