from inference import open_inference_pb2
from mltrainer.serving.v1 import serving_service_pb2
from mltrainer_common.authorization import unlisted_methods
from mltrainer_serving.domain import errors
from mltrainer_serving.wire.errors import to_rpc_error
from mltrainer_serving.wire.roles import ROLES


def test_every_method_has_a_role() -> None:
    services = [
        serving_service_pb2.DESCRIPTOR.services_by_name["ServingService"],
        open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"],
    ]

    assert unlisted_methods(services, ROLES) == []


def test_every_error_class_has_an_answer() -> None:
    samples = {
        errors.ModelNotServedError: errors.ModelNotServedError("m", "1"),
        errors.ModelNotReadyError: errors.ModelNotReadyError("m", "champion", "loading"),
        errors.FeatureViewsDifferError: errors.FeatureViewsDifferError("models/m/versions/1", ["a"]),
        errors.InvalidTensorError: errors.InvalidTensorError("inputs", "wrong"),
        errors.DeploymentNotFoundError: errors.DeploymentNotFoundError("deployments/m"),
    }

    answers = {kind: to_rpc_error(error) for kind, error in samples.items()}

    assert set(samples) == set(errors.ServingError.__subclasses__())
    assert all(answer is not None and answer.reason for answer in answers.values())
    assert to_rpc_error(ValueError("foreign")) is None
