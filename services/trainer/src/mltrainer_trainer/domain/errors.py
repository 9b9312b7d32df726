"""Names what the trainer refuses, with the facts."""


class TrainerError(Exception):
    """A request that the trainer refuses."""


class AttemptNotFoundError(TrainerError):
    """No such attempt."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class StudyNotFoundError(TrainerError):
    """No such study."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class RetrainingNotFoundError(TrainerError):
    """No such retraining."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class RetrainingExistsError(TrainerError):
    """Another retraining has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class StaleEtagError(TrainerError):
    """Something has changed since it was read."""

    def __init__(self, name: str, etag: str) -> None:
        super().__init__(name)
        self.name = name
        self.etag = etag


class StaleFencingTokenError(TrainerError):
    """The speaker does not hold the present allocation of its training."""

    def __init__(self, name: str, fencing_token: int, highest_token: int) -> None:
        super().__init__(name)
        self.name = name
        self.fencing_token = fencing_token
        self.highest_token = highest_token


class AttemptEndedError(TrainerError):
    """The attempt has ended otherwise."""

    def __init__(self, name: str, state: str) -> None:
        super().__init__(name)
        self.name = name
        self.state = state


class StudyTargetDiffersError(TrainerError):
    """A study predicts one label; trials of another do not belong to it."""

    def __init__(self, study: str, target: str, other_target: str) -> None:
        super().__init__(study)
        self.study = study
        self.target = target
        self.other_target = other_target


class InvalidFieldError(TrainerError):
    """A field of a request is malformed."""

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}")
        self.field = field
        self.description = description
