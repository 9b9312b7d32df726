"""MLflow's server, database and folder tell the same, and none of their files is ever loaded."""

import base64
import json
import pickle
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from mltrainer_cli.errors import CliError
from mltrainer_cli.mlflow_import import archived_path, model_ids, open_source
from mltrainer_cli.mlflow_server import MlflowServer
from mltrainer_cli.mlflow_source import MlflowSource, UnreadableArtifactError, files_of, local_files
from mltrainer_cli.mlflow_stores import FileRegistry, SqliteRegistry

DATA = Path(__file__).parent / "mlflow_data"


def lay_out(root: Path, recorded: str, folder: Path) -> None:
    for path, content in json.loads((DATA / recorded).read_text()).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(to_bytes(content, root))


def to_bytes(content: Any, root: Path) -> bytes:
    if isinstance(content, dict):
        return base64.b64decode(content["base64"])
    return str(content).replace("@ROOT@", str(root)).encode()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    lay_out(tmp_path, "local_artifacts.json", tmp_path / "mlruns")
    file = tmp_path / "mlflow.db"
    with sqlite3.connect(file) as connection:
        connection.executescript((DATA / "registry.sql").read_text().replace("@ROOT@", str(tmp_path)))
    connection.close()
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lay_out(tmp_path, "file_store.json", tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def server() -> Iterator[str]:
    answers = json.loads((DATA / "server.json").read_text())

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path in answers
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(to_bytes(answers[self.path], Path("/")) if known else b"{}")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()
        thread.join()


@pytest.fixture(params=["server", "database", "folder"])
def source(request: pytest.FixtureRequest) -> MlflowSource:
    return open_source(str(request.getfixturevalue(request.param)))


def contents(source: MlflowSource, uri: str, artifacts: Path | None = None) -> dict[str, bytes]:
    return {file.path: b"".join(file.read()) for file in files_of(source, uri, artifacts)}


def test_every_source_tells_of_the_same_models(source: MlflowSource) -> None:
    churn, logged, price = sorted(source.models(), key=lambda model: model.name)

    assert [churn.name, logged.name, price.name] == ["Churn Model", "logged", "price"]
    assert (churn.description, churn.tags) == ("who leaves", {"team": "växjö"})
    assert churn.aliases == {"Champion": 2, "old": 1}
    assert [(it.number, it.description, it.tags) for it in churn.versions] == [
        (1, "round 0", {"stage": "x0"}),
        (2, "round 1", {"stage": "x1"}),
    ]
    assert all(it.run_id and it.create_time and it.status == "READY" for it in churn.versions)


def test_every_source_gives_the_files(source: MlflowSource) -> None:
    churn, logged, price = sorted(source.models(), key=lambda model: model.name)

    found = [contents(source, version.uri) for version in churn.versions]

    assert [sorted(files) for files in found] == [
        ["MLmodel", "data/columns.json", "data/round.txt", "model.pkl"]
    ] * 2
    assert [files["data/round.txt"] for files in found] == [b"0", b"1"]
    assert "python_model.pkl" in contents(source, logged.versions[0].uri)
    assert "MLmodel" in contents(source, price.versions[0].uri)


def test_no_pickle_is_ever_loaded(source: MlflowSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a file of a foreign model was loaded")

    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)

    for model in source.models():
        for version in model.versions:
            assert contents(source, version.uri)


def test_the_database_is_only_read(database: Path) -> None:
    before = database.read_bytes()
    database.chmod(0o444)

    SqliteRegistry(database).models()

    assert database.read_bytes() == before
    assert not list(database.parent.glob("mlflow.db-*"))


def test_what_a_server_keeps_can_come_from_its_folder(database: Path) -> None:
    source = SqliteRegistry(database)
    (version,) = next(model for model in source.models() if model.name == "price").versions
    local = urlsplit(source.artifact_uri(version.uri)).path
    root = Path(local).parents[3]

    proxied = contents(source, f"mlflow-artifacts:/{Path(local).relative_to(root)}", root)

    assert proxied == contents(source, version.uri)
    with pytest.raises(UnreadableArtifactError, match="--artifacts"):
        contents(source, "mlflow-artifacts:/0/x")


@pytest.mark.parametrize("uri", ["/etc", "file:///etc", "dbfs:/models/x", "runs:/unknown/model"])
def test_a_server_cannot_make_this_machine_read_its_own_files(server: str, uri: str) -> None:
    with pytest.raises(UnreadableArtifactError):
        contents(MlflowServer(server), uri)


def test_paths_do_not_lead_out_of_the_folder_of_artifacts(tmp_path: Path, database: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(database)
    (inside / "file").write_bytes(b"x")

    with pytest.raises(UnreadableArtifactError):
        contents(SqliteRegistry(database), "mlflow-artifacts:/../", inside)
    assert [file.path for file in local_files(inside, None)] == ["file"]


def test_credentials_are_no_part_of_the_name() -> None:
    assert MlflowServer("http://me:secret@host:5000/").name == "mlflow:http://host:5000"


@pytest.mark.parametrize("text", ["/no/such/place", "ftp://host", __file__])
def test_what_is_no_registry_is_said_so(text: str) -> None:
    with pytest.raises(CliError, match="MLflow registry"):
        open_source(text).models()


def test_names_become_ids_that_stay_apart() -> None:
    ids = model_ids(["Churn Model", "churn model", "price", "ÄÖ", "a" * 300])

    assert ids["price"] == "price"
    assert len(set(ids.values())) == 5
    assert ids["Churn Model"].startswith("churn-model-")
    assert all(len(it) <= 63 and it.isascii() for it in ids.values())


@pytest.mark.parametrize(
    ("path", "archived"),
    [
        ("model.pkl", "mlflow/model.pkl"),
        ("a b/ü.txt", "mlflow/a_20_b/_fc_.txt"),
        ("x\x00y", "mlflow/x_0_y"),
    ],
)
def test_paths_are_spelled_so_that_every_file_system_takes_them(path: str, archived: str) -> None:
    assert archived_path(path) == archived


def test_an_empty_folder_is_no_registry(tmp_path: Path) -> None:
    with pytest.raises(CliError):
        FileRegistry(tmp_path).models()
