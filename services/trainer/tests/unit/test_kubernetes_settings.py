"""What an operator sets becomes what every job shares."""

from pathlib import Path

import pytest
from mltrainer_trainer.kubernetes_bootstrap import job_profile
from mltrainer_trainer.settings import BackendKind, TrainerSettings

STATED = {
    "MLTRAINER_CONSUL_ADDRESS": "consul:8500",
    "MLTRAINER_DATA_DIRECTORY": "/home/me/.mltrainer",
    "MLTRAINER_BIND_HOST": "10.0.0.1",
    "MLTRAINER_TOKEN_KEY_FILE": "/home/me/key",
}


def test_attempts_execute_on_this_machine_unless_told_otherwise() -> None:
    assert TrainerSettings().backend is BackendKind.PROCESS


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLTRAINER_TRAINER_BACKEND", "kubernetes")
    monkeypatch.setenv("MLTRAINER_TRAINER_KUBERNETES_CLUSTER", "eu")
    monkeypatch.setenv("MLTRAINER_TRAINER_KUBERNETES_SPOT_LABEL", "lifecycle=Spot")
    monkeypatch.setenv("MLTRAINER_TRAINER_KUBERNETES_ENVIRONMENT", '{"A": "b"}')

    profile = job_profile(TrainerSettings(), STATED)

    assert profile.node_prefix == "nodes/eu."
    assert (profile.labels.spot, profile.labels.spot_value) == ("lifecycle", "Spot")
    assert profile.environment["A"] == "b"


def test_pods_find_the_services_as_the_trainer_does_and_know_nothing_of_its_machine() -> None:
    environment = job_profile(TrainerSettings(), STATED).environment

    assert environment["MLTRAINER_CONSUL_ADDRESS"] == "consul:8500"
    assert environment["MLTRAINER_DATA_DIRECTORY"] == "/tmp/mltrainer"
    assert not {"MLTRAINER_BIND_HOST", "MLTRAINER_TOKEN_KEY_FILE"} & set(environment)


def test_a_file_of_pod_fields_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text("- volumes\n")
    monkeypatch.setenv("MLTRAINER_TRAINER_KUBERNETES_POD_FILE", str(file))

    with pytest.raises(TypeError, match="fields of a pod"):
        job_profile(TrainerSettings(), {})
