"""What turns a score into a prediction: nothing, a probability or a positive number."""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Link(StrEnum):
    """The last step of a linear model or of an ensemble of trees."""

    IDENTITY = "identity"
    LOGISTIC = "logistic"
    EXPONENTIAL = "exponential"

    def apply(self, scores: Floats) -> Floats:
        """Turns scores into predictions, each by itself."""
        match self:
            case Link.IDENTITY:
                return scores
            case Link.LOGISTIC:
                return np.asarray(1.0 / (1.0 + np.exp(-scores)))
            case Link.EXPONENTIAL:
                return np.asarray(np.exp(scores))


def kind_with_link(kind: str, link: Link) -> str:
    """Names a kind of model with its last step; loaders of before links refuse the longer names."""
    return kind if link is Link.IDENTITY else f"{kind}-{link}"


def links_of(kind: str) -> dict[str, Link]:
    """Maps the names of a kind of model to their last steps."""
    return {kind_with_link(kind, link): link for link in Link}
