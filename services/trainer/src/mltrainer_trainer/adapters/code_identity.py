"""Digests what decides a result apart from the request: our sources and the installed distributions."""

import hashlib
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from mltrainer_trainer.domain.release import CodeIdentity

# Modules and packages whose source can influence a result; transport, storage and supervision cannot.
SOURCES = (
    "mltrainer_trainer.domain",
    "mltrainer_trainer.adapters.estimators",
    "mltrainer_models",
    "mltrainer_features",
)


def code_identity() -> CodeIdentity:
    """Returns the digests of this installation."""
    return CodeIdentity(code_digest(), environment_digest())


def code_digest(sources: tuple[str, ...] = SOURCES) -> str:
    """Hashes names and bytes of every source file of the modules."""
    digest = hashlib.sha256()
    for name, path in sorted(_files(sources)):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _files(sources: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    for module in sources:
        spec = find_spec(module)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"{module} is not installed: the trainer cannot say what it executes")
        origin = Path(spec.origin)
        if spec.submodule_search_locations is None:
            yield f"{module}.py", origin
            continue
        for path in origin.parent.rglob("*.py"):
            yield f"{module}/{path.relative_to(origin.parent).as_posix()}", path


def environment_digest() -> str:
    """Hashes the Python version and names and versions of all installed distributions.

    The names of the metadata directories hold both; reading the files inside costs a hundred times more.
    """
    version = ".".join(str(part) for part in sys.version_info[:3])
    names = sorted({path.stem.lower() for path in _distributions()})
    return hashlib.sha256("\n".join([f"python-{version}", *names]).encode()).hexdigest()


def _distributions() -> Iterator[Path]:
    for entry in dict.fromkeys(sys.path):
        folder = Path(entry or ".")
        if folder.is_dir():
            yield from folder.glob("*.dist-info")
            yield from folder.glob("*.egg-info")
