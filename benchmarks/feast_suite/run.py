"""Runs Feast's universal test-suite over this repository's stores, in an environment of its own.

`python benchmarks/feast_suite/run.py` needs git and a way to GitHub: the suite is neither in Feast's wheel
nor in its source distribution. `--checkout DIRECTORY` takes a clone of tag v0.67.0 instead.
"""

import argparse
import os
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FEAST = "0.67.0"
REPOSITORY = "https://github.com/feast-dev/feast"
# What the suite's support modules import, whichever store is tested.
PACKAGES = (
    f"feast=={FEAST}",
    "pytest",
    "pytest-xdist",
    "pytest-timeout",
    "pytest-asyncio",
    "pytest-env",
    "pytest-mock",
    "pytest-ordering",
    "minio",
    "testcontainers",
    "assertpy",
    "cryptography",
    "python-keycloak",
    "great_expectations<1",
    "deltalake",
    "psutil",
)
MEMBERS = ("libs/common", "libs/features", "libs/messaging", "libs/protos", "services/feature")
# Starts Redis; the rest of it, and what that needs, is not installed.
TESTKIT = ROOT / "libs" / "testkit" / "src"
OFFLINE = ("offline_store", "registration")
ONLINE = ("online_store",)


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mltrainer" / "peers"


def environment() -> Path:
    """Returns the interpreter of the suite's environment, made the first time."""
    folder = cache_folder() / f"feast-suite-{FEAST}"
    python, stamp = folder / "bin" / "python", folder / ".complete"
    if not stamp.exists():
        sys.stderr.write(f"installing Feast {FEAST} and what its tests import into {folder}\n")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *PACKAGES], check=True)
        members = [argument for member in MEMBERS for argument in ("-e", str(ROOT / member))]
        subprocess.run([*pip, *members], check=True)
        stamp.touch()
    return python


def checkout() -> Path:
    """Returns a clone of Feast's repository at the tag, made the first time, outside this repository."""
    folder = cache_folder() / f"feast-repository-{FEAST}"
    if not (folder / "sdk" / "python" / "tests").exists():
        clone = ["git", "clone", "--quiet", "--depth", "1", "--branch", f"v{FEAST}", REPOSITORY, str(folder)]
        subprocess.run(clone, check=True)
    return folder


def selection() -> str:
    """Makes pytest's expression that leaves the excluded tests out, and prints why."""
    excluded = tomllib.loads((HERE / "excluded.toml").read_text())["excluded"]
    for item in excluded:
        print(f"excluded: {item['name']}: {item['reason']}")
    return " and ".join(f"not {item['name']}" for item in excluded)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkout", type=Path, help=f"a clone of {REPOSITORY} at v{FEAST}")
    parser.add_argument(
        "--python", type=Path, help="an environment that has Feast, its test tools and this repository"
    )
    parser.add_argument("--online", action="store_true", help="the tests of online stores too, over Redis")
    parser.add_argument("rest", nargs="*", help="passed to pytest, after --")
    options = parser.parse_args()
    tests = (options.checkout or checkout()).resolve() / "sdk" / "python" / "tests"
    folders = [tests / "universal" / name for name in (*OFFLINE, *(ONLINE if options.online else ()))]
    command = [
        str(options.python or environment()),
        "-m",
        "pytest",
        "--integration",
        "-q",
        "-ra",
        "--timeout=600",
    ]
    command += ["-k", selection(), *(str(folder) for folder in folders if folder.exists()), *options.rest]
    settings = {
        "FULL_REPO_CONFIGS_MODULE": "mltrainer_repo_configuration",
        "FEAST_IS_LOCAL_TEST": "True",
        "FEAST_USAGE": "False",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(tests.parent), str(TESTKIT)]),
    }
    return subprocess.run(command, cwd=tests.parent, env={**os.environ, **settings}, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
