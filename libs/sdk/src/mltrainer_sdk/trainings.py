"""Follows trainings from the request to their end."""

from mltrainer.scheduler.v1.resources_pb2 import Training

TERMINAL_STATES = frozenset(
    {
        Training.STATE_COMPLETED,
        Training.STATE_DEDUPLICATED,
        Training.STATE_FAILED,
        Training.STATE_CANCELLED,
        Training.STATE_REJECTED,
    }
)
"""States a training never leaves."""


class TrainingNotFinishedError(Exception):
    """A training did not end in the time its caller gave; it goes on by itself."""

    def __init__(self, request_id: str, training: Training | None, timeout_s: float) -> None:
        state = Training.State.Name(training.state) if training else "not yet accepted"
        super().__init__(f"training of request {request_id!r} is {state} after {timeout_s:.0f} s; it goes on")
        self.request_id = request_id
        self.training = training
        self.timeout_s = timeout_s
