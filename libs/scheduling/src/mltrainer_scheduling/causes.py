"""Why a gang does not start: the one cause that dominates."""

from mltrainer_scheduling.jobs import Integers
from mltrainer_scheduling.plan import Cause
from mltrainer_scheduling.room import PLENTY, Room, Shape


def lasting_cause(room: Room, shape: Shape) -> Cause | None:
    """Returns why not even an empty cluster could hold a gang, or nothing if it could."""
    usable = room.usable(shape)
    if not usable.any():
        return _unusable(room, shape)
    largest = room.largest_slots(shape)
    if not largest.any():
        return Cause.LARGER_THAN_ANY_NODE
    if int(largest.sum()) < shape.workers:
        return Cause.GANG_LARGER_THAN_CLUSTER
    if shape.compact and shape.workers > int(largest.max()) and not _holds_compact(largest, shape.workers):
        return Cause.GANG_LARGER_THAN_CLUSTER
    return None


def _holds_compact(largest: Integers, workers: int) -> bool:
    size = int(largest.max())
    full, part = divmod(workers, size)
    whole = int((largest == size).sum())
    return whole > full or (whole == full and (not part or bool((largest[largest < size] >= part).any())))


def _unusable(room: Room, shape: Shape) -> Cause:
    anything = Shape(1, 0, 0, 0, 0, "", allows_spot=True, compact=False)
    if not room.usable(anything).any():
        return Cause.NO_NODE
    typed = Shape(1, 0, 0, 0, 0, shape.gpu_type, allows_spot=True, compact=False)
    return Cause.ON_DEMAND_UNAVAILABLE if room.usable(typed).any() else Cause.GPU_TYPE_UNAVAILABLE


def passing_cause(room: Room, shape: Shape) -> Cause:
    """Returns what is short at present."""
    if int(room.slots(shape).sum()) >= shape.workers:
        return Cause.FRAGMENTED
    usable = room.usable(shape)
    free = {
        Cause.INSUFFICIENT_GPUS: _slots(int(room.whole[usable].sum()), shape.gpus),
        Cause.INSUFFICIENT_MEMORY: _slots(int(room.memory[usable].sum()), shape.memory_bytes),
        Cause.INSUFFICIENT_CPUS: _slots(int(room.cpu[usable].sum()), shape.cpu_millis),
    }
    if shape.part_millis:
        free[Cause.INSUFFICIENT_GPUS] = 0 if not room.slots(_gpu_only(shape)).any() else PLENTY
    cause = min(free, key=lambda one: free[one])
    return Cause.FRAGMENTED if free[cause] >= shape.workers else cause


def _slots(free: int, need: int) -> int:
    return free // need if need else PLENTY


def _gpu_only(shape: Shape) -> Shape:
    return Shape(
        1, shape.gpus, shape.part_millis, 0, 0, shape.gpu_type, allows_spot=shape.allows_spot, compact=False
    )
