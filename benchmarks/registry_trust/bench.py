"""Measures what verifying a model costs, and whether an altered byte gets through; MLflow beside it."""

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mltrainer_cli.java import cache_directory
from mltrainer_common.content_store import ContentStore
from mltrainer_models import (
    REFERENCE_FILE,
    SIGNATURE_FILE,
    LinearModel,
    ModelArtifact,
    ModelDescription,
    ModelTarget,
    load_predictor,
)
from mltrainer_models.signatures import create_key, public_key, sign_manifest
from mltrainer_serving.adapters import model_loader
from mltrainer_serving.adapters.model_loader import ContentStoreModelLoader, SignaturePolicy
from mltrainer_serving.application.ports import ModelLoadError
from mltrainer_serving.domain.deployment import ArtifactFile, Version

PEER = Path(__file__).with_name("peer.py")
LARGE_BYTES = 100_000_000
FLIPS = 1_000
PEER_FLIPS = 300
ROUNDS = 7
FIRST_BAR_S, AGAIN_BAR_S = 1.0, 0.005
NAMES = ("a", "b")


def main() -> int:
    """Prints the table; exits with 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run(Path(folder), arguments.rounds))


async def _run(folder: Path, rounds: int) -> int:
    refused, parsed = await flip(folder / "flips")
    print(f"{FLIPS} flipped bytes: {refused} refused, {parsed} handed to a parser")
    costs = await verify(folder / "large", rounds)
    for label, cost in (("first", costs.first), ("again", costs.again), ("signing its manifest", costs.sign)):
        print(f"{LARGE_BYTES / 1e6:.0f} MB, {label}: {cost.text}")
    peer = ask_peer(folder / "peer")
    print(f"MLflow: {peer}")
    misses = (
        refused != FLIPS or parsed or costs.first.median_s > FIRST_BAR_S or costs.again.median_s > AGAIN_BAR_S
    )
    return int(bool(misses))


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall and CPU seconds of some rounds."""

    wall_s: tuple[float, ...]
    cpu_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """Median wall time."""
        return statistics.median(self.wall_s)

    @property
    def text(self) -> str:
        """Medians, with the spread."""
        low, high = min(self.wall_s) * 1e3, max(self.wall_s) * 1e3
        cpu_ms = statistics.median(self.cpu_s) * 1e3
        return f"{self.median_s * 1e3:.3g} ms ({low:.3g} to {high:.3g}), CPU {cpu_ms:.3g} ms"


@dataclass(frozen=True, slots=True)
class Costs:
    """What one large version costs."""

    first: Cost
    again: Cost
    sign: Cost


async def measure(rounds: int, work: Callable[[int], Awaitable[Any]]) -> Cost:
    """Returns what some work costs, round by round."""
    walls, cpus = [], []
    for number in range(rounds):
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        await work(number)
        walls.append(time.perf_counter() - wall_s)
        cpus.append(time.process_time() - cpu_s)
    return Cost(tuple(walls), tuple(cpus))


def model_files(extra: bytes) -> dict[str, bytes]:
    """Returns a small model with a companion of any size."""
    description = ModelDescription("ridge", ModelTarget("LOG_REALIZED_VARIANCE", 5), NAMES)
    model = LinearModel(description, np.zeros(2), np.ones(2), np.array([1.0, 2.0]), 0.5)
    return {**model.to_artifact().files, REFERENCE_FILE: extra}


def publish(store: ContentStore, files: dict[str, bytes], key: bytes) -> Version:
    """Stores a signed version."""
    entries = ModelArtifact(files).manifest.entries
    signed = {**files, SIGNATURE_FILE: sign_manifest(entries, key, "models/vol5")}
    listed = tuple(ArtifactFile(path, store.put_bytes(content)) for path, content in sorted(signed.items()))
    return Version("vol5", 1, "", listed)


async def flip(folder: Path) -> tuple[int, int]:
    """Flips one bit of one stored byte at a time; returns how many loads were refused and how many parsed."""
    key, parsed = create_key(), 0

    def count(files: Any) -> Any:
        nonlocal parsed
        parsed += 1
        return load_predictor(files)

    store = ContentStore(str(folder))
    version, generator, refused = publish(store, model_files(b"{}" * 500), key), random.Random(1), 0
    policy = SignaturePolicy(lambda: [public_key(key)], is_required=True)
    paths = [folder / "sha256" / file.sha256[:2] / file.sha256 for file in version.files]
    contents = [path.read_bytes() for path in paths]
    model_loader.load_predictor = count
    try:
        for _ in range(FLIPS):
            (index,) = generator.choices(range(len(paths)), [len(content) for content in contents])
            changed = bytearray(contents[index])
            changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
            paths[index].chmod(0o644)
            paths[index].write_bytes(changed)
            try:
                await ContentStoreModelLoader(store, policy).load(version)
            except ModelLoadError:
                refused += 1
            paths[index].write_bytes(contents[index])
    finally:
        model_loader.load_predictor = load_predictor
    return refused, parsed


async def verify(folder: Path, rounds: int) -> Costs:
    """Loads a version of 100 MB that nothing has loaded before, and again."""
    key, store = create_key(), ContentStore(str(folder))
    files = model_files(random.Random(2).randbytes(LARGE_BYTES))
    version = publish(store, files, key)
    policy = SignaturePolicy(lambda: [public_key(key)], is_required=True)
    loaders = [ContentStoreModelLoader(store, policy) for _ in range(rounds)]
    first = await measure(rounds, lambda number: loaders[number].load(version))
    again = await measure(rounds, lambda number: loaders[number].load(version))
    entries = ModelArtifact(files).manifest.entries

    async def sign(_: int) -> None:
        sign_manifest(entries, key, "models/vol5")

    return Costs(first, again, await measure(rounds, sign))


def ask_peer(folder: Path) -> str:
    """Flips bytes of a model that MLflow has logged and loads it; says why not where there is no MLflow."""
    installed = sorted((cache_directory() / "peers").glob("mlflow-*/bin/python"))
    python = installed[-1] if installed else None
    if python is None:
        return "not installed here; `benchmarks/registry/bench.py` makes its environment"
    folder.mkdir()
    answer = subprocess.run(
        [python, PEER, folder, str(PEER_FLIPS)], capture_output=True, text=True, check=False, timeout=600
    )
    if answer.returncode:
        return f"failed: {answer.stderr.strip().splitlines()[-1:]}"
    found = json.loads(answer.stdout.splitlines()[-1])
    return (
        f"{found['version']}: of {found['flips']} flipped bytes {found['loaded']} loaded without a word, "
        f"{found['changed']} of them predict something else, {found['refused']} ended in an error"
    )


if __name__ == "__main__":
    sys.exit(main())
