"""Keeps an absent broker from filling the logs: aiokafka reports every failed attempt, many a second."""

import logging
import time

_INTERVAL_S = 30.0
_SPEAKERS = (
    "aiokafka",
    "aiokafka.conn",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
    "aiokafka.producer.sender",
)


class _Rarely(logging.Filter):
    """Lets a statement of the source speak once per interval."""

    def __init__(self) -> None:
        super().__init__()
        self._spoken_s: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        statement, now_s = (record.name, record.lineno), time.monotonic()
        if now_s - self._spoken_s.get(statement, -_INTERVAL_S) < _INTERVAL_S:
            return False
        self._spoken_s[statement] = now_s
        return True


_RARELY = _Rarely()


def calm_aiokafka() -> None:
    """Thins the repetitions of aiokafka's loggers; calling it again changes nothing."""
    for name in _SPEAKERS:
        logging.getLogger(name).addFilter(_RARELY)
