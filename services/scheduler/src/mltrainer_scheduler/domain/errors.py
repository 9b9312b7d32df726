"""Refusals of the scheduler."""


class SchedulerError(Exception):
    """Any refusal of the scheduler."""


class TrainingNotFoundError(SchedulerError):
    """No training has this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name!r} does not exist")


class RequestNotFoundError(SchedulerError):
    """No training was asked for under this request id, or its event has not arrived yet."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        super().__init__(f"no training of request {request_id!r} is known")


class InvalidFieldError(SchedulerError):
    """A field of a call is wrong."""

    def __init__(self, field: str, description: str) -> None:
        self.field = field
        self.description = description
        super().__init__(f"{field}: {description}")


class WrongStateError(SchedulerError):
    """A training that has reached a final state cannot change."""

    def __init__(self, training: str, state: str) -> None:
        self.training = training
        self.state = state
        super().__init__(f"{training} is {state} and cannot change")


class NoComputationKeyError(SchedulerError):
    """What a training computes is not known: it was refused, waits for tables, or is older than that."""

    def __init__(self, training: str) -> None:
        self.training = training
        super().__init__(f"the inputs of {training} are not known")


class QueuesChangedError(SchedulerError):
    """Somebody else has set the queues since they were read."""

    def __init__(self, etag: str) -> None:
        self.etag = etag
        super().__init__(f"the queues have changed since they were read; they are at {etag!r} now")
