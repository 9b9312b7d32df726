"""Buffers answered calls and turns them into events off the hot path."""

from collections import deque
from dataclasses import dataclass, field

from mltrainer_serving.application.ports import Prediction, PredictionSink

_CAPACITY = 20_000
_BATCH = 500


@dataclass(slots=True)
class BufferedPredictionLog:
    """Keeps predictions until the next flush; when full, new ones are dropped and counted."""

    sink: PredictionSink
    capacity: int = _CAPACITY
    dropped_count: int = field(default=0, init=False)
    _buffer: deque[Prediction] = field(default_factory=deque, init=False)

    def add(self, prediction: Prediction) -> None:
        """Accepts a prediction."""
        if len(self._buffer) >= self.capacity:
            self.dropped_count += 1
            return
        self._buffer.append(prediction)

    async def flush(self) -> int:
        """Makes everything buffered durable and returns how many; on an error nothing leaves the buffer."""
        written = 0
        while self._buffer:
            batch = [self._buffer[index] for index in range(min(_BATCH, len(self._buffer)))]
            async with self.sink.open() as transaction:
                for prediction in batch:
                    transaction.add(prediction)
                await transaction.commit()
            for _ in batch:
                self._buffer.popleft()
            written += len(batch)
        return written
