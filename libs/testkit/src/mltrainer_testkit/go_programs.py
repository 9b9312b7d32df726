"""Builds a server that tests need from its Go module, once, and keeps it in the cache."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# No C compiler is needed, and no setting of the caller's workspace applies.
_ENVIRONMENT = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}
_BUILD = ("build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w")


class ProgramNotFoundError(Exception):
    """The program cannot be had here; the text says what was tried."""


@dataclass(frozen=True, slots=True)
class GoProgram:
    """Names a program and where its source is.

    Attributes:
        variable: Environment variable that may name an executable instead.
        builder: Command that builds it ahead of the tests.
    """

    name: str
    package: str
    variable: str
    builder: str

    def find_or_build(self, module: Path, timeout_s: float) -> Path:
        """Returns the executable the environment names, the one on the path, or one built from `module`.

        Raises:
            ProgramNotFoundError: There is none, and it cannot be built in time.
        """
        if chosen := os.environ.get(self.variable) or shutil.which(self.name):
            return Path(chosen)
        built = self._cached(module)
        if not built.exists():
            built.parent.mkdir(parents=True, exist_ok=True)
            with built.with_name(".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not built.exists():
                    self._build(module, built, timeout_s)
        return built

    def _cached(self, module: Path) -> Path:
        from mltrainer_cli.java import cache_directory

        pins = b"".join((module / name).read_bytes() for name in ("go.mod", "go.sum"))
        return cache_directory() / f"{self.name}-{hashlib.sha256(pins).hexdigest()[:12]}" / self.name

    def _build(self, module: Path, built: Path, timeout_s: float) -> None:
        go = shutil.which("go")
        if go is None:
            raise ProgramNotFoundError(
                f"no {self.name}: install it or Go, or set {self.variable} to an executable"
            )
        draft = built.with_name(f"{self.name}.draft")
        try:
            subprocess.run(
                [go, *_BUILD, "-o", str(draft), self.package],
                check=True,
                cwd=module,
                env={**os.environ, **_ENVIRONMENT},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired as error:
            raise ProgramNotFoundError(
                f"no {self.name}: building it took more than {timeout_s:.0f} s; "
                f"`{self.builder} {module}` goes on from there"
            ) from error
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip() or "no reason given").splitlines()[-1]
            raise ProgramNotFoundError(
                f"no {self.name}: it cannot be built from its Go module: {reason}"
            ) from error
        draft.replace(built)
