"""Archives come from others: every byte is verified, every name checked, nothing else read."""

import hashlib
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.model_archive import DOCUMENT, ModelArchive, OpenArchive, write_archive
from mltrainer_cli.model_trust import Trust, judge
from mltrainer_models import ManifestEntry, ModelArtifact
from mltrainer_models.signatures import create_key, public_key, sign_manifest

FILES = {"model.json": b'{"a":1}', "arrays/w.npy": b"w" * 3_000, "model.sig": b""}
ENTRIES = ModelArtifact(FILES).manifest.entries
ARCHIVE = ModelArchive("mltrainer:abc", {"name": "models/vol5/versions/3", "number": 3}, ENTRIES)


def write(file: Path) -> Path:
    write_archive(file, ARCHIVE, lambda entry: iter([FILES[entry.file]]))
    return file


def check(content: bytes, tmp_path: Path) -> ModelArchive:
    file = tmp_path / "checked.zip"
    file.write_bytes(content)
    with OpenArchive(file) as opened:
        return opened.check()


def rewritten(tmp_path: Path, change: Callable[[list[tuple[str, bytes]]], Any], method: int = 0) -> bytes:
    with zipfile.ZipFile(write(tmp_path / "m.zip")) as source:
        members = [(name, source.read(name)) for name in source.namelist()]
    change(members)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as changed:
        for name, content in members:
            changed.writestr(zipfile.ZipInfo(name), content, method)
    return target.getvalue()


def with_document(change: Callable[[dict[str, Any]], Any]) -> Callable[[list[tuple[str, bytes]]], Any]:
    def apply(members: list[tuple[str, bytes]]) -> None:
        document = json.loads(members[0][1])
        change(document)
        members[0] = (DOCUMENT, json.dumps(document).encode())

    return apply


def test_an_archive_says_what_was_written(tmp_path: Path) -> None:
    with OpenArchive(write(tmp_path / "m.zip")) as opened:
        assert opened.check() == ARCHIVE
        assert {entry.file: b"".join(opened.chunks(entry)) for entry in ENTRIES} == FILES


def test_the_same_version_is_the_same_file(tmp_path: Path) -> None:
    assert write(tmp_path / "a.zip").read_bytes() == write(tmp_path / "b.zip").read_bytes()


def test_a_file_that_is_not_as_announced_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(CliError):
        write_archive(tmp_path / "m.zip", ARCHIVE, lambda entry: iter([FILES[entry.file] + b"!"]))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "method"),
    [
        pytest.param(lambda members: members.pop(), 0, id="a member is missing"),
        pytest.param(lambda members: members.append(("files/more", b"")), 0, id="a member too many"),
        pytest.param(lambda members: members.append(("../evil", b"")), 0, id="a member outside"),
        pytest.param(lambda members: members.reverse(), 0, id="another order"),
        pytest.param(lambda members: members.clear(), 0, id="nothing"),
        pytest.param(lambda members: None, zipfile.ZIP_DEFLATED, id="compressed"),
        pytest.param(
            lambda members: members.__setitem__(1, (members[1][0], b"v" * len(members[1][1]))),
            0,
            id="altered",
        ),
        pytest.param(with_document(lambda it: it.update(format_version=2)), 0, id="another version"),
        pytest.param(with_document(lambda it: it["manifest"].update(digest="0" * 64)), 0, id="digest"),
        pytest.param(with_document(lambda it: it.pop("source")), 0, id="no source"),
        pytest.param(with_document(lambda it: it["manifest"].update(files=7)), 0, id="no list"),
    ],
)
def test_what_is_not_as_announced_is_refused(
    tmp_path: Path, change: Callable[[list[tuple[str, bytes]]], Any], method: int
) -> None:
    with pytest.raises(CliError) as refused:
        check(rewritten(tmp_path, change, method), tmp_path)

    assert refused.value.code is ExitCode.REJECTED


@pytest.mark.parametrize(
    "path",
    ["../evil", "/etc/passwd", "a/../b", "a//b", "./a", "...", "a\\b", "a\x00b", "", "x" * 10_000 + "/", "ä"],
)
def test_a_path_that_could_leave_its_folder_is_refused(tmp_path: Path, path: str) -> None:
    content = FILES["model.json"]
    entries = (ManifestEntry(path, hashlib.sha256(content).hexdigest(), len(content)),)
    file = tmp_path / "m.zip"
    target = io.BytesIO()
    document = {
        "format": "mltrainer-model-archive",
        "format_version": 1,
        "source": "s",
        "version": {},
        "manifest": {
            "digest": ModelArchive("", {}, entries).manifest_digest,
            "files": [{"path": path, "sha256": entries[0].sha256, "size_bytes": len(content)}],
        },
    }
    with zipfile.ZipFile(target, "w") as crafted:
        crafted.writestr(DOCUMENT, json.dumps(document))
        crafted.writestr("files/" + path.replace("\x00", ""), content)
    file.write_bytes(target.getvalue())

    with pytest.raises(CliError), OpenArchive(file) as opened:
        opened.check()


def test_no_flipped_byte_changes_what_is_read(tmp_path: Path) -> None:
    content, generator = write(tmp_path / "m.zip").read_bytes(), random.Random(5)
    for position in generator.sample(range(len(content)), 400):
        flipped = bytearray(content)
        flipped[position] ^= 1 << generator.randrange(8)
        try:
            archive = check(bytes(flipped), tmp_path)
        except CliError:
            continue
        # The description is not covered by the digest of the files; a signature covers the files only.
        assert archive.entries == ENTRIES


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04", b"x" * 100):
        with pytest.raises(CliError):
            check(content, tmp_path)
    with pytest.raises(CliError), OpenArchive(tmp_path / "missing.zip"):
        pass


def test_a_signed_description_is_vouched_for(tmp_path: Path) -> None:
    key = create_key()
    file = tmp_path / "m.zip"
    write_archive(
        file,
        ARCHIVE,
        lambda entry: iter([FILES[entry.file]]),
        lambda entry: sign_manifest([entry], key, "version"),
    )

    with OpenArchive(file) as opened:
        assert opened.check() == ARCHIVE
        document, signature = opened.description()

    assert judge(signature, [document], [public_key(key)]).trust is Trust.SIGNED
    other = ManifestEntry(document.file, "0" * 64, document.size_bytes)
    assert judge(signature, [other], [public_key(key)]).trust is Trust.BROKEN
    assert judge(signature, [document], []).trust is Trust.UNKNOWN_KEY
    assert judge(None, [document], [public_key(key)]).trust is Trust.UNSIGNED
