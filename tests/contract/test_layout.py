"""Holds lists that must agree with the folders, and the size of the shared mechanisms (ADR 0032)."""

import ast
import configparser
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = sorted(path.parent.name for path in (ROOT / "services").glob("*/pyproject.toml"))
MEMBERS = sorted(path.parent for path in ROOT.glob("libs/*/pyproject.toml")) + [
    ROOT / "services" / slug for slug in SERVICES
]
_MECHANISM_STATEMENTS = 3_000


def _package(slug: str) -> str:
    return f"mltrainer_{slug.replace('-', '_')}"


def test_every_service_is_named_in_the_import_contracts() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")

    containers = contracts["importlinter:contract:layers"]["containers"].split()
    independent = contracts["importlinter:contract:services"]["modules"].split()

    expected = {_package(slug) for slug in SERVICES}
    assert (set(containers), set(independent)) == (expected, expected)


def test_every_member_is_type_checked() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())

    paths = set(settings["tool"]["mypy"]["mypy_path"])

    assert paths == {str((member / "src").relative_to(ROOT)) for member in MEMBERS}


@pytest.mark.parametrize("slug", SERVICES)
def test_every_service_says_what_it_owns(slug: str) -> None:
    text = (ROOT / "services" / slug / "README.md").read_text()

    assert all(word in text.lower() for word in ("owns", "emits", "slo"))


def test_the_shared_mechanisms_stay_small() -> None:
    files = [*ROOT.glob("libs/common/src/**/*.py"), *ROOT.glob("libs/messaging/src/**/*.py")]

    statements = sum(_statements(path) for path in files)

    assert statements <= _MECHANISM_STATEMENTS


def _statements(path: Path) -> int:
    tree = ast.parse(path.read_text())
    docstrings = sum(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in ast.walk(tree)
    )
    return sum(isinstance(node, ast.stmt) for node in ast.walk(tree)) - docstrings


def test_no_module_is_longer_than_five_hundred_lines() -> None:
    files = [path for member in MEMBERS for path in member.glob("src/**/*.py") if "protos" not in path.parts]

    too_long = {
        str(path.relative_to(ROOT)): n for path in files if (n := len(path.read_text().splitlines())) > 500
    }

    assert too_long == {}


def test_decisions_are_numbered_without_doubles() -> None:
    numbers = [path.name[:4] for path in (ROOT / "docs/adr").glob("[0-9]*.md")]

    assert len(numbers) == len(set(numbers))
