"""`mltrainer models` against a real registry, alone: no Kafka, no peers."""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer.registry.v1.resources_pb2 import ArtifactFile, Manifest, ModelVersion
from mltrainer.types.v1 import types_pb2 as types
from mltrainer_cli.errors import ExitCode
from mltrainer_cli.main import run
from mltrainer_sdk import Client, Role

pytestmark = pytest.mark.integration

READY_TIMEOUT_S = 120.0
APPROVAL = [{"condition": "verdict_is_edge"}, {"condition": "approved"}]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Starts a registry that holds vol5 with versions 1 to 3; 2 was made from 1, 3 has no edge."""
    directory = tmp_path_factory.mktemp("models")
    environment = {
        **os.environ,
        "MLTRAINER_DATA_DIRECTORY": str(directory),
        "MLTRAINER_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "mltrainer_registry"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until_s = time.monotonic() + READY_TIMEOUT_S
        endpoints = directory / "endpoints.json"
        while not endpoints.exists() or "registry" not in endpoints.read_text():
            assert time.monotonic() < until_s
            time.sleep(0.1)
        asyncio.run(_stock(directory))
        yield directory
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


async def _stock(directory: Path) -> None:
    async with Client.connect(directory, subject="trainings/t", roles=[Role.SERVICE]) as client:
        for number in (1, 2, 3):
            await _create(client, number)


async def _create(client: Client, number: int) -> None:
    content, training = f"model {number}".encode(), f"trainings/t{number}"
    file = ArtifactFile(
        path="model.json", sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content)
    )

    async def parts() -> AsyncIterator[api.UploadArtifactRequest]:
        manifest = Manifest(files=[file])
        header = api.UploadHeader(training=training, fencing_token=1, manifest=manifest)
        yield api.UploadArtifactRequest(header=header)
        yield api.UploadArtifactRequest(chunk=api.UploadChunk(file_index=0, data=content))

    digest = (await client.registry.UploadArtifact(parts())).manifest_digest
    version = ModelVersion(training=training, owner="users/ada")
    version.manifest.digest = digest
    version.target.kind, version.target.horizon_bars = types.TARGET_KIND_LOG_REALIZED_VARIANCE, 5
    version.result.verdict = types.VERDICT_NO_EDGE if number == 3 else types.VERDICT_EDGE
    version.result.metrics.add(name="r2", value=number / 10, standard_error=0.01)
    lineage = version.lineage
    lineage.training, lineage.attempt, lineage.study = training, 1, "studies/vol5"
    lineage.dataset, lineage.dataset_sha256 = "datasets/d1", "d" * 64
    lineage.feature_view_versions.append("bars@1")
    lineage.code_digest, lineage.environment_digest = "c" * 64, "e" * 64
    lineage.computation_key = "k" * 64
    lineage.as_of.FromSeconds(1_700_000_000)
    lineage.parent_version = "models/vol5/versions/1" if number == 2 else ""
    request = api.CreateModelVersionRequest(parent="models/vol5", model_version=version, fencing_token=1)
    await client.registry.CreateModelVersion(request)


@pytest.fixture(autouse=True)
def _stack(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLTRAINER_DATA_DIRECTORY", str(data))
    monkeypatch.setenv("MLTRAINER_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run(["models", *arguments, "--output", "json"]) == ExitCode.OK
    return json.loads(capsys.readouterr().out)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["models", *arguments]) == ExitCode.OK
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = run(["models", *arguments])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return code, error


def test_versions_are_searched(capsys: pytest.CaptureFixture[str]) -> None:
    found = ask(capsys, "versions", "--filter", "verdict = EDGE", "--order-by", "metrics.r2 desc")
    models = ask(capsys, "list", "--filter", "version_count = 3")

    assert [one["number"] for one in found] == [2, 1]
    assert [one["name"] for one in models] == ["models/vol5"]
    assert "vol5" in said(capsys, "versions", "vol5", "--limit", "1")


def test_a_wrong_filter_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    code, error = refused(capsys, "versions", "--filter", "verdict = EDGE AND colour = red")

    assert code == ExitCode.REJECTED
    assert "character 20" in error
    assert "INVALID_FILTER" in error


def test_an_alias_goes_forth_and_back_and_its_gates_say_why(capsys: pytest.CaptureFixture[str]) -> None:
    first = ask(capsys, "promote", "vol5", "1", "--alias", "blue", "--reason", "first")
    said(capsys, "promote", "vol5", "2", "--alias", "blue")
    back = said(capsys, "rollback", "vol5", "--alias", "blue")
    moves = ask(capsys, "history", "vol5", "--alias", "blue")
    gates = ask(capsys, "gates", "vol5", "2")

    assert (first["state"], first["decider"]) == ("APPLIED", "policy")
    assert back == "models/vol5/aliases/blue points to models/vol5/versions/1.\n"
    assert [move["to_version"].rpartition("/")[2] for move in moves] == ["1", "2", "1"]
    assert [one["condition"] for one in gates[0]["conditions"]] == ["lineage_complete"]
    assert "lineage_complete" in said(capsys, "gates", "vol5", "blue")


def test_a_version_that_does_not_pass_is_refused_with_its_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    code, error = refused(capsys, "promote", "vol5", "3")

    assert code == ExitCode.REJECTED
    assert "the verdict is NO_EDGE" in error
    assert "GATE_NOT_PASSED" in error


def test_nobody_approves_their_own_wish(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    conditions = tmp_path / "conditions.json"
    conditions.write_text(json.dumps(APPROVAL))
    shown = ask(
        capsys, "policy", "vol5", "--alias", "live", "--set", str(conditions), "--reason", "two pairs"
    )
    asked = ask(capsys, "promote", "vol5", "1", "--alias", "live")
    number = asked["name"].rpartition("/")[2]

    code, error = refused(capsys, "approve", "vol5", number)
    waiting = ask(capsys, "promotions", "vol5", "--pending")
    rejected = said(capsys, "reject", "vol5", number, "--reason", "not today")

    assert [one["condition"] for one in shown["conditions"]] == ["verdict_is_edge", "approved"]
    assert (code, asked["state"], len(waiting)) == (ExitCode.REJECTED, "PENDING", 1)
    assert "OWN_PROMOTION" in error
    assert "rejected" in rejected
    assert "approved" in said(capsys, "policy", "vol5", "--alias", "live")


def test_a_policy_that_was_taken_back_gives_way_to_the_next_closest_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    conditions = tmp_path / "conditions.json"
    conditions.write_text(json.dumps(APPROVAL))
    ask(capsys, "policy", "vol5", "--alias", "green", "--set", str(conditions))

    unset = said(capsys, "policy", "vol5", "--alias", "green", "--unset")
    holds = ask(capsys, "policy", "vol5", "--alias", "green")
    both = refused(capsys, "policy", "vol5", "--unset", "--set", str(conditions))
    last_resort = refused(capsys, "policy", "--alias", "-", "--unset")

    assert "taken back" in unset
    assert holds["name"] == "models/-/gatePolicies/-"
    assert (both[0], last_resort[0]) == (ExitCode.USAGE, ExitCode.REJECTED)


def test_conditions_that_cannot_be_read_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "conditions.json"
    for content, code in (
        ("{", ExitCode.USAGE),
        ("{}", ExitCode.USAGE),
        ('[{"condition": 3}]', ExitCode.USAGE),
        ('[{"condition": "beautiful"}]', ExitCode.REJECTED),
    ):
        path.write_text(content)
        assert refused(capsys, "policy", "vol5", "--set", str(path))[0] == code


def test_lineage_is_a_tree_for_people_and_a_graph_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    graph = ask(capsys, "lineage", "vol5", "2")
    tree = said(capsys, "lineage", "vol5", "1")
    made = ask(capsys, "descendants", "feature-view-version", "bars@1")

    assert graph["nodes"][0] == {"kind": "VERSION", "name": "models/vol5/versions/2"}
    assert {"kind": "VERSION", "name": "models/vol5/versions/1"} in graph["nodes"]
    assert "feature view version bars@1" in tree
    assert "came to" in tree
    assert [one["version"].rpartition("/")[2] for one in made] == ["1", "2", "3"]
    assert refused(capsys, "descendants", "colour", "red")[0] == ExitCode.USAGE


def test_two_versions_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    found = {one["field"]: (one["before"], one["after"]) for one in ask(capsys, "diff", "vol5", "1", "3")}

    assert found["metrics.r2"] == (0.1, 0.3)
    assert found["verdict"] == ("EDGE", "NO_EDGE")
    assert "lineage.dataset" not in found
    assert "files.model.json" in said(capsys, "diff", "vol5", "1", "3")


def test_a_card_is_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "card", "vol5", "1").startswith("# models/vol5/versions/1\n")
    assert "| r2 | 0.1 |" in ask(capsys, "card", "vol5", "1")["markdown"]


def test_tags_and_descriptions_are_set(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "tag", "vol5", "team=vol", "env=prod", "--version", "1", "--description", "The first.")
    changed = ask(capsys, "tag", "vol5", "--version", "1", "--remove", "env")
    of_model = said(capsys, "tag", "vol5", "team=vol")

    assert (changed["tags"], changed["description"]) == ({"team": "vol"}, "The first.")
    assert of_model == "models/vol5 has team=vol.\n"
    assert [one["number"] for one in ask(capsys, "versions", "--filter", "tags.team = vol")] == [1]
    assert "team=vol" in said(capsys, "show", "vol5")
    assert refused(capsys, "tag", "vol5", "team")[0] == ExitCode.USAGE
    assert refused(capsys, "tag", "vol5")[0] == ExitCode.USAGE
    assert refused(capsys, "tag", "vol5", "A=b")[0] == ExitCode.REJECTED


def test_a_version_that_is_pointed_to_is_not_archived(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "promote", "vol5", "2", "--alias", "green")

    assert refused(capsys, "archive", "vol5", "2")[0] == ExitCode.REJECTED
    assert said(capsys, "archive", "vol5", "3") == "models/vol5/versions/3 is archived.\n"


@pytest.mark.parametrize("command", ["gates", "lineage", "card"])
def test_what_does_not_exist_is_not_found(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert refused(capsys, command, "none", "1")[0] == ExitCode.NOT_FOUND
    assert refused(capsys, command, "vol5", "nowhere")[0] == ExitCode.NOT_FOUND


@pytest.mark.parametrize("model", ["../etc", "a/b", "a\x07b", "A" * 10_240, "vol5/../vol5"])
def test_names_that_may_not_be_used_are_refused(capsys: pytest.CaptureFixture[str], model: str) -> None:
    for command in (["show", model], ["promote", model, "1"], ["tag", model, "a=b"], ["lineage", model, "1"]):
        code, error = refused(capsys, *command)
        assert code == ExitCode.REJECTED
        assert len(error) < 1_000
