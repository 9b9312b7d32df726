"""Digests what decides a result apart from the request: our sources and the installed distributions."""

import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from mltrainer_trainer.adapters.code_closure import (
    PROJECT_PREFIX,
    ReadSource,
    closure,
    closure_digest,
    read_source,
)
from mltrainer_trainer.adapters.source_cache import SourceCache
from mltrainer_trainer.domain.release import CodeIdentity

# Where computing begins: all that these import of this project can influence a result.
SOURCES = (
    "mltrainer_trainer.domain.training",
    "mltrainer_trainer.domain.catalogue",
    "mltrainer_trainer.adapters.estimators",
    "mltrainer_trainer.adapters.optuna_sampler",
    "mltrainer_models",
    "mltrainer_features",
)
# Sets budgets and data up; what it imports beyond that transports and reports.
_ALONE = ("mltrainer_trainer.adapters.training_executor",)


def code_identity(memory: Path | None = None) -> CodeIdentity:
    """Returns the digests of this installation; a file may remember what unchanged sources say."""
    if memory is None:
        return CodeIdentity(code_digest(SOURCES, _ALONE), environment_digest())
    cache = SourceCache(memory)
    digest = code_digest(SOURCES, _ALONE, read=cache.read)
    cache.save()
    return CodeIdentity(digest, environment_digest())


def code_digest(
    sources: Iterable[str],
    alone: Iterable[str] = (),
    prefix: str = PROJECT_PREFIX,
    read: ReadSource = read_source,
) -> str:
    """Hashes what modules and their imports say; those that stand alone are taken without their imports."""
    return closure_digest(closure(sources, alone, prefix, read))


def sources_file(data_directory: Path) -> Path:
    """Says where the processes of a trainer remember sources."""
    return data_directory / "trainer" / "sources.json"


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
