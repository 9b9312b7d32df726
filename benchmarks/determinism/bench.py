"""Fits models of the catalogue again and again and counts their canonical digests.

    .venv-catalogue/bin/python benchmarks/determinism/bench.py --retrains 20

README.md tells how to read it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mltrainer_models import ModelDescription, ModelTarget, save_model
from mltrainer_testkit.catalogue_slices import HORIZON_BARS, slice_for
from mltrainer_trainer.adapters.estimators import load_batch_learner, load_learner, unavailable_reason
from mltrainer_trainer.domain.catalogue import CATALOGUE, CatalogueEntry, find_entry

PROCESSES, THREADS = 2, (1, 2)


@dataclass(frozen=True)
class Found:
    """The digests of one model over all its fits."""

    entry: CatalogueEntry
    digests: tuple[str, ...]
    cpu_seconds: float


def representatives(*, every_model: bool) -> list[CatalogueEntry]:
    """Takes the first deterministic model of each family, or all of them."""
    known = [entry for entry in CATALOGUE if entry.is_deterministic and not unavailable_reason(entry)]
    return known if every_model else list({entry.family: entry for entry in reversed(known)}.values())[::-1]


def digest(entry: CatalogueEntry, threads: int) -> str:
    data = slice_for(entry)
    learn = load_learner(entry) if entry.serves_row_by_row else load_batch_learner(entry)
    fit = learn(data.request(entry, threads=threads))
    description = ModelDescription(entry.id, ModelTarget(entry.task.value, HORIZON_BARS), data.feature_names)
    return save_model(fit.to_model(description)).canonical_digest


def work(ids: Sequence[str], fits: int, threads: int) -> None:
    """Runs in a process of its own: prints the digests of each model as one line of JSON."""
    for name in ids:
        entry, started = find_entry(name), time.process_time()
        digests = [digest(entry, threads) for _ in range(fits)]
        line = {"id": name, "digests": digests, "cpu_seconds": time.process_time() - started}
        sys.stdout.write(json.dumps(line) + "\n")


def measure(entries: Sequence[CatalogueEntry], retrains: int) -> list[Found]:
    fits = -(-retrains // (PROCESSES * len(THREADS)))
    lines = []
    for threads in THREADS:
        for _ in range(PROCESSES):
            command = [sys.executable, __file__, "--worker", str(threads), "--retrains", str(fits)]
            environment = {
                **os.environ,
                "OMP_NUM_THREADS": str(threads),
                "OPENBLAS_NUM_THREADS": str(threads),
            }
            ids = [entry.id for entry in entries]
            done = subprocess.run(
                [*command, *ids], env=environment, check=True, stdout=subprocess.PIPE, text=True
            )
            lines += [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [
        Found(
            entry,
            tuple(value for line in lines if line["id"] == entry.id for value in line["digests"]),
            sum(line["cpu_seconds"] for line in lines if line["id"] == entry.id),
        )
        for entry in entries
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--retrains", type=int, default=20)
    parser.add_argument("--every-model", action="store_true", help="not only the first model of each family")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("models", nargs="*", help="ids; the first model of each family where none is named")
    options = parser.parse_args()
    if options.worker:
        work(options.models, options.retrains, options.worker)
        return 0
    chosen = [find_entry(name) for name in options.models]
    entries = chosen or representatives(every_model=options.every_model)
    found = measure(entries, options.retrains)
    print(f"{'family':28s} {'model':34s} {'fits':>5s} {'digests':>8s} {'CPU s':>7s}")
    for one in found:
        count = len(set(one.digests))
        line = f"{one.entry.family:28s} {one.entry.id:34s} {len(one.digests):5d} {count:8d}"
        print(f"{line} {one.cpu_seconds:7.2f}")
    unequal = [one.entry.id for one in found if len(set(one.digests)) != 1]
    families = len({one.entry.family for one in found})
    print(f"{len(found)} models of {families} families, {sum(len(one.digests) for one in found)} fits")
    print(f"with more than one digest: {', '.join(unequal) or 'none'}")
    if options.output:
        options.output.write_text(
            json.dumps({one.entry.id: sorted(set(one.digests)) for one in found}, indent=1) + "\n"
        )
    return 1 if unequal else 0


if __name__ == "__main__":
    sys.exit(main())
