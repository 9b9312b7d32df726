"""What monitor refuses."""


class MonitorError(Exception):
    """Any refusal."""


class ModelNotWatchedError(MonitorError):
    """Neither a version nor a prediction of the model was ever seen."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} has neither a version nor a prediction yet")
        self.name = name


class InvalidFieldError(MonitorError):
    """A field of a request cannot be used."""

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field} {description}")
        self.field = field
        self.description = description
