"""Makes exposures durable before their units are answered; concurrent ones share a transaction."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from mltrainer_experiment.application.ports import ExposureWriter
from mltrainer_experiment.domain.experiment import Exposure

_REMEMBERED_UNITS = 100_000


@dataclass(slots=True)
class _Batch:
    exposures: list[Exposure] = field(default_factory=list)
    is_written: bool = False


@dataclass(slots=True)
class ExposureLog:
    """Writes exposures in groups: while one group is being written, the next one collects.

    Whoever finds its group unwritten writes it, so a caller that is cancelled or fails leaves the work to the
    others of its group. Units written before are remembered and cost nothing.
    """

    writer: ExposureWriter
    capacity: int = _REMEMBERED_UNITS
    _open: _Batch = field(default_factory=_Batch, init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _written: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict, init=False)

    async def record(self, exposure: Exposure) -> None:
        """Returns when the exposure is durable.

        Raises:
            DatabaseUnavailableError: It is perhaps not.
        """
        key = (exposure.experiment_id, exposure.unit)
        if key in self._written:
            self._written.move_to_end(key)
            return
        batch = self._open
        batch.exposures.append(exposure)
        async with self._turn:
            if not batch.is_written:
                if batch is self._open:
                    self._open = _Batch()
                await self._write(batch)

    async def _write(self, batch: _Batch) -> None:
        await self.writer.write(batch.exposures)
        batch.is_written = True
        for exposure in batch.exposures:
            self._written[exposure.experiment_id, exposure.unit] = None
        while len(self._written) > self.capacity:
            _ = self._written.popitem(last=False)
