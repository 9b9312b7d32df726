"""The typed client of a trading app, a producer of training requests, or a tool.

`Client.connect` finds the services, signs calls and follows restarts; every failed call raises `RpcFailure`.
"""

from mltrainer_common.authorization import Role
from mltrainer_common.errors import FieldViolation, RpcFailure

from mltrainer_sdk.client import Client
from mltrainer_sdk.connection import Connection
from mltrainer_sdk.features import FeatureStatus, FeatureVectors
from mltrainer_sdk.models import ModelCatalogue
from mltrainer_sdk.predictions import Predictions
from mltrainer_sdk.trainings import TERMINAL_STATES, TrainingNotFinishedError

__all__ = [
    "TERMINAL_STATES",
    "Client",
    "Connection",
    "FeatureStatus",
    "FeatureVectors",
    "FieldViolation",
    "ModelCatalogue",
    "Predictions",
    "Role",
    "RpcFailure",
    "TrainingNotFinishedError",
]
