"""Makes the environments of peers: programs that only judge ours and whose dependencies clash with them."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mltrainer_cli.java import cache_directory


def peer_environment(name: str, packages: Sequence[str]) -> Path:
    """Returns the folder of a virtual environment outside the repository, made the first time.

    Args:
        name: Names the folder; it carries the peer's version, because an environment is never changed.
        packages: Requirements, the peer first. Nothing is built from source.

    Raises:
        CalledProcessError: The packages could not be installed; the next call tries again.
    """
    folder = cache_directory() / "peers" / name
    stamp = folder / ".complete"
    if not stamp.exists():
        sys.stderr.write(f"installing {packages[0]} into {folder}\n")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
        subprocess.run([*pip, *packages], check=True)
        stamp.touch()
    return folder


def peer_python(name: str, packages: Sequence[str]) -> Path:
    """Returns the interpreter of a peer's environment."""
    return peer_environment(name, packages) / "bin" / "python"
