"""The program of an attempt some of whose models misbehave: `python misbehaving_attempt.py DIRECTORY`.

The file `misbehaviour` of the data directory says how: lines of a catalogue id and a way.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from mltrainer_trainer import attempt
from mltrainer_trainer.adapters import training_executor
from mltrainer_trainer.domain.catalogue import CatalogueEntry
from mltrainer_trainer.domain.learners import Fit, FitRequest, Learner

DATA = Path(os.environ["MLTRAINER_DATA_DIRECTORY"])
MEBIBYTE = 1 << 20
load_learner = training_executor.load_any_learner


def hold_memory() -> None:
    """Asks for far more than the allocation has."""
    np.ones(8 << 30, np.uint8)


def write_a_large_file() -> None:
    """Writes where it was started."""
    with Path("large").open("wb") as file:
        for _ in range(64):
            file.write(bytes(MEBIBYTE))
            file.flush()


def write_many_files() -> None:
    """Writes until it is ended."""
    number = 0
    while True:
        number += 1
        Path(f"file{number % 64}").write_bytes(os.urandom(MEBIBYTE))


def print_a_lot() -> None:
    """Prints 64 MiB."""
    for _ in range(64 * 1024):
        print("x" * 1023)  # noqa: T201 - that is the misbehaviour


def use_cpu() -> None:
    """Computes until it is ended."""
    while True:
        pass


WAYS: dict[str, Callable[[], None]] = {
    way.__name__: way for way in (hold_memory, write_a_large_file, write_many_files, print_a_lot, use_cpu)
}
CHOSEN = dict(line.split() for line in (DATA / "misbehaviour").read_text().splitlines())


def load(entry: CatalogueEntry) -> Learner:
    """Has the chosen models misbehave before they fit."""
    learner = load_learner(entry)

    def fit(request: FitRequest) -> Fit:
        if entry.id in CHOSEN:
            WAYS[CHOSEN[entry.id]]()
        return learner(request)

    return fit


training_executor.load_any_learner = load
code = attempt.main(sys.argv[1:])
sys.stderr.flush()
os._exit(code)
