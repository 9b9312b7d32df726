"""Injects seeded faults into the real handlers of the scheduler, with a clock in hand; a tick is a second.

    python benchmarks/node_faults/simulation.py --faults 1000

The simulation is that of `services/scheduler/tests/unit/test_node_faults.py`, which asserts what this prints.
"""

import argparse
import asyncio
import importlib.util
import statistics
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from mltrainer_scheduler.domain.events import TrainingCompleted
from mltrainer_scheduler.domain.specification import Search
from mltrainer_scheduler.domain.training import SchedulingPolicy

TESTS = Path(__file__).parents[2] / "services" / "scheduler" / "tests"


def load(path: Path) -> ModuleType:
    """Imports a file of the tests."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def specification(parts: ModuleType, seed: int, **changes: Any) -> Any:
    """Asks for a computation of its own."""

    return replace(parts.SPEC, search=Search(("ridge",), seed=seed), **changes)


def main() -> int:
    """Prints what the faults cost; exits with 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=1_000)
    wanted = parser.parse_args().faults
    parts, faults = load(TESTS / "conftest.py"), load(TESTS / "unit" / "test_node_faults.py")
    found, duplicates, lost, elsewhere, seed = 0, 0, list[float](), list[float](), 0
    while found < wanted:
        policy = SchedulingPolicy(lease_s=faults.LEASE_S, max_attempts=99)
        simulation = faults.Simulation(parts.Scheduler(policy=policy), partial(specification, parts), seed)
        asyncio.run(simulation.run())
        events = simulation.scheduler.events
        ends = Counter(it.training.name for it in events if isinstance(it, TrainingCompleted))
        duplicates += sum(ends.values()) - faults.TRAININGS
        found, seed = found + simulation.faults, seed + 1
        lost += simulation.lost_s
        elsewhere += simulation.rerun_s
    print(f"faults {found}, attempts lost {len(lost)}, placed again after a lapse {len(elsewhere)}")
    print(f"duplicates {duplicates}")
    print(
        f"work lost: p50 {statistics.median(lost):.1f} s, most {max(lost):.1f} s of {faults.CHECKPOINT_S:g} s"
    )
    print(
        f"placed elsewhere after the lease: p50 {statistics.median(elsewhere):.1f} s, {max(elsewhere):.1f} s"
    )
    is_good = not duplicates and max(lost) <= faults.CHECKPOINT_S and max(elsewhere) <= 5.0
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
