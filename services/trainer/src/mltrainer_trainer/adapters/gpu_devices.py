"""Gives the GPUs of this machine to attempts, whole or in shares of one."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from mltrainer_trainer.application.ports import LaunchError
from mltrainer_trainer.domain.attempt import AttemptLimits

_TOLERANCE = 1e-9


def assign_devices(
    limits: AttemptLimits, installed: float, gpu_type: str, held: Iterable[Mapping[int, float]]
) -> dict[int, float]:
    """Returns shares of GPUs by index, for all workers together; the fullest device that has room goes first.

    Raises:
        LaunchError: The machine has no such GPUs, or not enough of them are free.
    """
    if not limits.gpus:
        return {}
    if limits.gpu_type and limits.gpu_type != gpu_type:
        raise LaunchError(f"this machine has no GPU of type {limits.gpu_type}")
    used = defaultdict[int, float](float)
    for shares in held:
        for index, share in shares.items():
            used[index] += share
    given = defaultdict[int, float](float)
    for _ in range(limits.workers):
        for share in _shares(limits.gpus):
            index = _fullest_with_room(share, int(installed), used)
            used[index] += share
            given[index] += share
    return dict(given)


def _shares(gpus: float) -> list[float]:
    return [1.0] * int(gpus) if gpus >= 1 else [gpus]


def _fullest_with_room(share: float, installed: int, used: Mapping[int, float]) -> int:
    fitting = [index for index in range(installed) if used[index] + share <= 1 + _TOLERANCE]
    if not fitting:
        raise LaunchError("not enough GPUs of this machine are free")
    return max(fitting, key=lambda index: (used[index], -index))
