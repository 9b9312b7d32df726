"""Workloads that the policies were not made for, drawn from the openb traces by seed."""

from collections.abc import Sequence

import numpy as np
from mltrainer_scheduling.fragmentation import TaskShape
from mltrainer_scheduling.packing_simulation import Workload

GPU_TYPES = ("T4", "G2", "V100M16", "P100", "G3", "V100M32")
SEED = 20231


def mixes(default: Workload, multi: Workload) -> dict[str, Workload]:
    """Returns the mixes by name."""
    tasks, wide = _tasks(default), _tasks(multi)
    random = np.random.default_rng(SEED)
    shared = [task for task in tasks if task.gpus == 1 and task.gpu_millis < 1_000]
    others = [task for task in tasks if task not in set(shared)]
    some = [others[row] for row in random.choice(len(others), 1_000, replace=False)]
    weights = random.random(len(wide)) ** 3
    drawn = random.choice(len(wide), 8_000, p=weights / weights.sum())
    return {
        "multi-GPU only": Workload.of([task for task in wide if task.gpus > 1]),
        "shared mostly": Workload.of(shared + some),
        "whole GPUs only": Workload.of([task for task in tasks if task.gpu_millis == 1_000]),
        "no CPU-only tasks": Workload.of([task for task in tasks if task.gpus]),
        "CPU-only tasks twice": Workload.of(tasks + [task for task in tasks if not task.gpus]),
        "half the CPU": _scaled(tasks, cpu=0.5),
        "1.4 times the CPU": _scaled(tasks, cpu=1.4),
        "twice the CPU": _scaled(tasks, cpu=2.0),
        "twice the memory": _scaled(tasks, memory=2.0),
        "a third bound to a type": Workload.of([_typed(task, random) for task in tasks]),
        "other weights": Workload.of([wide[row] for row in drawn]),
    }


def _tasks(workload: Workload) -> list[TaskShape]:
    return [workload.shapes[row] for row in workload.tasks]


def _scaled(tasks: Sequence[TaskShape], *, cpu: float = 1.0, memory: float = 1.0) -> Workload:
    return Workload.of(
        [
            TaskShape(t.gpus, t.gpu_millis, int(t.cpu_millis * cpu), int(t.memory_bytes * memory))
            for t in tasks
        ]
    )


def _typed(task: TaskShape, random: np.random.Generator) -> TaskShape:
    if not task.gpus or random.random() > 1 / 3:
        return task
    chosen = random.choice(GPU_TYPES, int(random.integers(1, 4)), replace=False)
    return TaskShape(
        task.gpus, task.gpu_millis, task.cpu_millis, task.memory_bytes, frozenset(map(str, chosen))
    )
