"""Which devices of a node are held by whom, where some are shared."""

from dataclasses import dataclass

import numpy as np

from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Flags, Integers, JobTable
from mltrainer_scheduling.nodes import NodeTable


@dataclass(slots=True)
class Layout:
    """Parts of devices that are held, per node and device, and how many whole devices are."""

    exists: Flags
    parts: Integers
    whole: Integers
    is_known: Flags

    @classmethod
    def of(cls, jobs: JobTable, nodes: NodeTable) -> "Layout":
        """Lays out what the running jobs of a table hold; a node is known where just that is not free."""
        width = nodes.free_gpu_millis.shape[1]
        parts, whole = np.zeros((len(nodes), width), np.int64), np.zeros(len(nodes), np.int64)
        node, workers, device = jobs.share_node, jobs.share_workers, jobs.share_device
        each = jobs.gpu_millis[jobs.share_job]
        is_part = (device >= 0) & (device < width) & (each < WHOLE_GPU_MILLIS)
        np.add.at(parts, (node[is_part], device[is_part]), (workers * each)[is_part])
        np.add.at(whole, node[~is_part], (workers * -(-each // WHOLE_GPU_MILLIS))[~is_part])
        exists = np.arange(width) < nodes.gpus[:, None]
        free = _laid_out(exists, parts, whole[:, None])
        return cls(exists, parts, whole, (free == nodes.free_gpu_millis).all(axis=1))

    def copy(self) -> "Layout":
        """Returns a layout to try things in."""
        return Layout(self.exists, self.parts.copy(), self.whole.copy(), self.is_known)

    def hold(self, row: int, gpus: int) -> Integers:
        """Counts whole devices of a node, and returns what is free on each of its devices then."""
        self.whole[row] += gpus
        return _laid_out(self.exists[row], self.parts[row], self.whole[row])

    def share(self, row: int, device: int, millis: int) -> Integers:
        """Counts a part of a device of a node, and returns what is free on each of its devices then."""
        self.parts[row, device] += millis
        return _laid_out(self.exists[row], self.parts[row], self.whole[row])

    def holds(self, row: int, millis: dict[int, int]) -> bool:
        """Tells whether there is room for such parts of devices."""
        parts = self.parts[row].copy()
        for device, amount in millis.items():
            parts[device] += amount
        touched = int((parts > 0).sum())
        return bool(
            parts.max(initial=0) <= WHOLE_GPU_MILLIS
            and touched + self.whole[row] <= self.exists[row].sum()
            and not parts[~self.exists[row]].any()
        )


def _laid_out(exists: Flags, parts: Integers, whole: Integers) -> Integers:
    """Returns what is free on each device, where those held whole are the first that nobody shares."""
    untouched = exists & (parts == 0)
    held = untouched & (np.cumsum(untouched, axis=-1) <= whole)
    return np.where(exists & ~held, np.maximum(WHOLE_GPU_MILLIS - parts, 0), 0)
