"""What can be wrong with a prediction call, as facts.

ServingError
├── ModelNotServedError      no such model, alias or version here
├── ModelNotReadyError       the alias exists, nothing is loaded for it yet
├── FeatureViewsDifferError  a version was trained on views that are defined otherwise now
├── InvalidTensorError       an input does not fit the model
└── DeploymentNotFoundError  no such deployment
"""

from collections.abc import Sequence


class ServingError(Exception):
    """Root of this service's errors."""


class ModelNotServedError(ServingError):
    """Nothing here answers for the model or version that was asked for."""

    def __init__(self, model: str, version: str) -> None:
        super().__init__(f"{model} {version}".strip())
        self.model = model
        self.version = version


class ModelNotReadyError(ServingError):
    """The version that an alias names has not been loaded."""

    def __init__(self, model: str, alias: str, cause: str) -> None:
        super().__init__(f"{model} {alias}: {cause}")
        self.model = model
        self.alias = alias
        self.cause = cause


class FeatureViewsDifferError(ServingError):
    """A version was trained on feature views that are defined otherwise now: it would read other numbers."""

    def __init__(self, version: str, differences: Sequence[str]) -> None:
        self.version = version
        self.differences = tuple(differences)
        super().__init__(
            f"FEATURE_VIEWS_DIFFER: {version} was trained on {'; '.join(differences)}: train it again"
        )


class InvalidTensorError(ServingError):
    """An input tensor does not fit; `field` is its path in the request."""

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}")
        self.field = field
        self.description = description


class DeploymentNotFoundError(ServingError):
    """No model of that name is served."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
