"""Versions travel between two installations and stay what they were."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mltrainer.registry.v1.registry_service_pb2 import ListModelsRequest
from mltrainer_cli import model_transfer
from mltrainer_cli.calls import call
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.errors import ExitCode
from mltrainer_cli.main import run
from mltrainer_cli.model_imports import create_version
from mltrainer_cli.model_transfer import SourceFile, upload
from mltrainer_common.errors import RpcFailure
from mltrainer_models import SIGNATURE_FILE, ManifestEntry, ModelArtifact
from mltrainer_models.key_folder import KeyFolder
from mltrainer_models.signatures import create_key, public_key, sign_manifest

pytestmark = pytest.mark.integration

READY_TIMEOUT_S = 60.0
MLFLOW_DATA = Path(__file__).parent / "mlflow_data"
LARGE = bytes(range(256)) * 100_000
FILES = {"model.json": b'{"kind":"ridge"}', "arrays/w.npy": bytes(range(256)) * 36_000}


class Kill:
    """Kills a process once it has stored a part of a file."""

    def __init__(self, process: "subprocess.Popen[bytes]", store: Path) -> None:
        self.process = process
        self.store = store

    def __call__(self, sent_bytes: int) -> None:
        if self.process.poll() is None and any(self.store.glob("models/parts/*/*")):
            self.process.kill()
            self.process.wait()


@contextmanager
def registry(directory: Path) -> Iterator[DataDirectory]:
    with started(directory) as (data, process):
        yield data
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@contextmanager
def started(directory: Path) -> "Iterator[tuple[DataDirectory, subprocess.Popen[bytes]]]":
    KeyFolder(directory / "signing").create_missing(create_key, public_key)
    environment = {
        **os.environ,
        "MLTRAINER_DATA_DIRECTORY": str(directory),
        "MLTRAINER_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "MLTRAINER_REGISTRY_LEAST_GARBAGE_GRACE_S": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "mltrainer_registry"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    data, until_s = DataDirectory(directory), time.monotonic() + READY_TIMEOUT_S
    try:
        while not answers(data, process):
            assert time.monotonic() < until_s
            time.sleep(0.05)
        yield data, process
    finally:
        process.kill()
        process.wait()


def answers(data: DataDirectory, process: "subprocess.Popen[bytes]") -> bool:
    endpoints = data.path / "endpoints.json"
    if not endpoints.exists() or f'"pid": {process.pid}' not in endpoints.read_text():
        return False

    async def ask_anything(client: Any) -> bool:
        await client.registry.ListModels(ListModelsRequest(page_size=1))
        return True

    try:
        return call(data, ask_anything)
    except RpcFailure:
        return False


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataDirectory]:
    with registry(tmp_path_factory.mktemp("home")) as data:
        publish(data)
        yield data


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataDirectory]:
    with registry(tmp_path_factory.mktemp("away")) as data:
        yield data


def publish(data: DataDirectory) -> None:
    key = KeyFolder(data.signing_folder).private_key()
    entries = ModelArtifact(FILES).manifest.entries
    files = {**FILES, SIGNATURE_FILE: sign_manifest(entries, key, "models/vol5")}
    folder = data.path / "made"
    sources = []
    for entry in ModelArtifact(files).manifest.entries:
        path = folder / entry.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[entry.file])
        sources.append(SourceFile(entry, lambda path=path: path.open("rb")))  # type: ignore[misc]

    async def make(client: Any) -> None:
        from mltrainer.registry.v1.resources_pb2 import ModelVersion

        version = ModelVersion(training="trainings/t1", description="a ridge", tags={"team": "vol"})
        version.lineage.training, version.lineage.dataset_sha256 = "trainings/t1", "d" * 64
        version.result.metrics.add(name="r2", value=0.25)
        sent: list[int] = []
        version.manifest.digest = await upload(client, "trainings/t1", "models/vol5", sources, sent.append)
        assert sum(sent) == sum(map(len, files.values()))
        assert await upload(client, "trainings/t1", "models/vol5", sources, sent.append)
        assert sum(sent) == sum(map(len, files.values()))
        await create_version(client, "models/vol5", version)

    call(data, make)


def ask(data: DataDirectory, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    code = run(["models", *arguments, "--data-directory", str(data.path), "--output", "json"])
    assert code == ExitCode.OK, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_a_version_travels_and_is_taken_in_once(
    home: DataDirectory, away: DataDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, second = tmp_path / "vol5.zip", tmp_path / "again.zip"
    ask(home, capsys, "export", "vol5", str(file), "--version", "1")
    ask(home, capsys, "export", "models/vol5", str(second), "--version", "1")
    taken = ask(away, capsys, "import", str(file))
    again = ask(away, capsys, "import", str(second))
    (there,) = ask(home, capsys, "show", "vol5")["versions"]
    (here,) = ask(away, capsys, "show", "vol5")["versions"]

    assert file.read_bytes() == second.read_bytes()
    assert taken == again
    assert (taken["version"], taken["trust"]) == ("models/vol5/versions/1", "UNKNOWN_KEY")
    assert here["origin"]["source"].startswith("mltrainer:")
    assert here["origin"]["version"] == there["name"]
    same = ("manifest", "lineage", "result", "description", "tags")
    assert {name: here[name] for name in same} == {name: there[name] for name in same}


def test_at_home_an_own_export_is_no_new_version(
    home: DataDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(home, capsys, "export", "vol5", str(tmp_path / "vol5.zip"), "--version", "1")

    taken = ask(home, capsys, "import", str(tmp_path / "vol5.zip"))

    assert (taken["version"], taken["origin"]) == ("models/vol5/versions/1", "here")
    assert len(ask(home, capsys, "show", "vol5")["versions"]) == 1


def test_who_demands_a_signature_must_trust_its_key_first(
    home: DataDirectory, away: DataDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "vol5.zip"
    ask(home, capsys, "export", "vol5", str(file), "--version", "1")
    demanding = ["models", "import", str(file), "--require-signature", "--data-directory", str(away.path)]
    refused = run(demanding)
    trust = ["models", "trust", str(home.signing_folder / "trusted" / "own.pem")]

    assert run([*trust, "--data-directory", str(away.path)]) == ExitCode.OK
    assert (refused, run(demanding)) == (ExitCode.REJECTED, ExitCode.OK)


def test_a_version_is_verified_also_by_model_signing(
    home: DataDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ask(home, capsys, "verify", "vol5", "1", "--library")

    assert (found["trust"], found["files"]) == ("SIGNED", 3)


def test_garbage_is_collected_by_a_command(home: DataDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    looked = ask(home, capsys, "collect-garbage", "--dry-run", "--grace-hours", "0")
    collected = ask(home, capsys, "collect-garbage", "--grace-hours", "0")

    assert looked == collected
    assert (collected["scanned_count"], collected["garbage_count"]) == (3, 0)


def test_an_upload_survives_a_killed_registry_and_garbage_of_it_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_transfer, "_TRIES", 1)
    large = SourceFile(
        ManifestEntry("w.npy", hashlib.sha256(LARGE).hexdigest(), len(LARGE)), lambda: io.BytesIO(LARGE)
    )
    with started(tmp_path) as (data, process):
        kill = Kill(process, tmp_path / "artifacts")
        with pytest.raises(RpcFailure):
            call(data, lambda client: upload(client, "trainings/t1", "models/vol5", [large], kill))
    left = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
    with started(tmp_path) as (data, process):
        sent: list[int] = []
        call(data, lambda client: upload(client, "trainings/t1", "models/vol5", [large], sent.append))
        process.kill()
    with started(tmp_path) as (data, process):
        kept = ask(data, capsys, "collect-garbage", "--grace-hours", "1")
        found = ask(data, capsys, "collect-garbage", "--grace-hours", "0")
        process.terminate()
        assert process.wait(30) == 0

    assert any("parts" in path.parts for path in left)
    assert sum(sent) in {len(LARGE) - (8 << 20), len(LARGE) - (16 << 20)}
    assert (kept["scanned_count"], kept["garbage_count"], kept["expired_upload_count"]) == (1, 0, 0)
    assert (found["garbage_count"], found["expired_upload_count"]) == (1, 1)
    assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()] == []


def test_an_mlflow_registry_is_taken_in_once_with_what_it_says(
    away: DataDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, content in json.loads((MLFLOW_DATA / "file_store.json").read_text()).items():
        target = tmp_path / "store" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        text = content["base64"] if isinstance(content, dict) else content
        target.write_text(text.replace("@ROOT@", str(tmp_path)))

    first = ask(away, capsys, "import-mlflow", str(tmp_path / "store"))
    again = ask(away, capsys, "import-mlflow", str(tmp_path / "store"))
    shown = ask(away, capsys, "show", "churn-model")

    assert (first["models"], first["imported"], first["present"], first["files"]) == (3, 4, 0, 17)
    assert (again["imported"], again["present"], again["files"]) == (0, 4, 0)
    assert {failure["subject"] for failure in first["failures"]} == {
        "models/churn-model/aliases/champion",
        "models/churn-model/aliases/old",
    }
    assert (shown["description"], shown["tags"]) == ("who leaves", {"team": "växjö"})
    newest = shown["versions"][0]
    assert (newest["description"], newest["tags"]) == ("round 1", {"stage": "x1"})
    assert (newest["origin"]["version"], newest["origin"]["format"]) == (
        "models/Churn Model/versions/2",
        "opaque",
    )
    assert newest["origin"]["attributes"]["aliases"] == "Champion"
    assert all(file["path"].startswith("mlflow/") for file in newest["manifest"]["files"])


@pytest.mark.parametrize(
    ("model", "version"),
    [("nothing", "1"), ("vol5", "nobody"), ("vol5", "99"), ("../vol5", "1"), ("vol5", "x/1")],
)
def test_what_does_not_exist_cannot_be_exported(
    home: DataDirectory, tmp_path: Path, model: str, version: str
) -> None:
    file = str(tmp_path / "x.zip")

    code = run(["models", "export", model, file, "--version", version, "--data-directory", str(home.path)])

    assert code in {ExitCode.NOT_FOUND, ExitCode.REJECTED}
    assert list(tmp_path.iterdir()) == []
