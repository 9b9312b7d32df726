"""Uploads: verified, fenced, free the second time, whole or not at all."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mltrainer_registry.application.observe_attempt import ObserveAttempt
from mltrainer_registry.application.upload_artifact import FilePiece, UploadArtifact
from mltrainer_registry.domain.errors import (
    ArtifactAlteredError,
    ArtifactDigestMismatchError,
    FileNotInManifestError,
    InvalidUploadError,
    StaleFencingTokenError,
    UploadIncompleteError,
)
from mltrainer_registry.domain.manifests import ArtifactFile

CONTENT = b'{"kind":"ridge"}'


class CutError(Exception):
    """The connection is gone."""


async def stream(*pieces: FilePiece, cut: bool = False) -> AsyncIterator[FilePiece]:
    for piece in pieces:
        yield piece
    if cut:
        raise CutError


async def never() -> AsyncIterator[FilePiece]:
    raise AssertionError("no byte may be asked for")
    yield FilePiece(0, b"")


def announce(*contents: bytes) -> UploadArtifact:
    files = [
        ArtifactFile(f"file{index}", hashlib.sha256(content).hexdigest(), len(content))
        for index, content in enumerate(contents)
    ]
    return UploadArtifact("trainings/t1", 1, tuple(files), "")


def stored(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_files_are_stored_under_their_digests(registry: Any) -> None:
    large = b"x" * 3_000_000
    command = announce(CONTENT, b"", large)
    pieces = [FilePiece(0, CONTENT[:3]), FilePiece(0, CONTENT[3:])]
    pieces += [FilePiece(2, large[start : start + 1_000_000]) for start in range(0, 3_000_000, 1_000_000)]

    manifest = await registry.use.upload_artifact(command, stream(*pieces))

    assert await registry.use.reader.is_uploaded("trainings/t1", manifest.digest)
    for file, content in zip(command.files, (CONTENT, b"", large), strict=True):
        assert registry.content.read_bytes(file.sha256) == content


async def test_the_same_manifest_is_free_the_second_time(registry: Any) -> None:
    command = announce(CONTENT)
    first = await registry.use.upload_artifact(command, stream(FilePiece(0, CONTENT)))

    assert await registry.use.upload_artifact(command, never()) == first


async def test_lost_bytes_are_asked_for_again(registry: Any) -> None:
    command = announce(CONTENT)
    await registry.use.upload_artifact(command, stream(FilePiece(0, CONTENT)))
    registry.content.delete(command.files[0].sha256)

    await registry.use.upload_artifact(command, stream(FilePiece(0, CONTENT)))

    assert registry.content.read_bytes(command.files[0].sha256) == CONTENT


async def test_a_flipped_byte_is_refused_and_nothing_is_left(registry: Any) -> None:
    flipped = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]

    with pytest.raises(ArtifactDigestMismatchError) as refused:
        await registry.use.upload_artifact(announce(CONTENT), stream(FilePiece(0, flipped)))

    assert refused.value.subject == "file0"
    assert stored(registry.content_folder) == []


async def test_a_cut_upload_leaves_nothing_half_written(registry: Any) -> None:
    command = announce(CONTENT)

    with pytest.raises(CutError):
        await registry.use.upload_artifact(command, stream(FilePiece(0, CONTENT[:5]), cut=True))

    assert stored(registry.content_folder) == []
    assert not await registry.use.reader.is_uploaded("trainings/t1", command.manifest_digest)


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([FilePiece(0, CONTENT + b"!")], id="more than announced"),
        pytest.param([FilePiece(0, CONTENT), FilePiece(2, b"x")], id="unknown file"),
        pytest.param([FilePiece(0, CONTENT), FilePiece(1, b"ab"), FilePiece(0, b"x")], id="back again"),
        pytest.param([FilePiece(-1, CONTENT)], id="negative index"),
        pytest.param([FilePiece(0, b"x" * (1 << 20) + b"x")], id="too large a chunk"),
    ],
)
async def test_parts_out_of_order_are_refused(registry: Any, pieces: list[FilePiece]) -> None:
    with pytest.raises(InvalidUploadError):
        await registry.use.upload_artifact(announce(CONTENT, b"ab"), stream(*pieces))


@pytest.mark.parametrize("last", [[], [FilePiece(1, b"a")]], ids=["missing", "cut short"])
async def test_an_upload_that_ends_early_says_which_file_it_lacks(
    registry: Any, last: list[FilePiece]
) -> None:
    with pytest.raises(UploadIncompleteError) as refused:
        await registry.use.upload_artifact(announce(CONTENT, b"ab"), stream(FilePiece(0, CONTENT), *last))

    assert refused.value.path == "file1"


@pytest.mark.parametrize("token", [-1, 0, 1])
async def test_a_stale_attempt_uploads_nothing(registry: Any, attempts: Any, token: int) -> None:
    await registry.observe(ObserveAttempt("e1", "trainings/t1", 2))

    with pytest.raises(StaleFencingTokenError) as refused:
        await registry.use.upload_artifact(attempts.upload("trainings/t1", token), never())

    assert refused.value.lowest_accepted == 2


async def test_an_attempt_that_became_stale_while_it_uploaded_is_refused(
    registry: Any, attempts: Any
) -> None:
    async def overtaken() -> AsyncIterator[FilePiece]:
        await registry.observe(ObserveAttempt("e1", "trainings/t1", 2))
        yield FilePiece(0, CONTENT)

    command = attempts.upload("trainings/t1", 1)
    with pytest.raises(StaleFencingTokenError):
        await registry.use.upload_artifact(command, overtaken())

    assert not await registry.use.reader.is_uploaded("trainings/t1", command.manifest_digest)


async def test_a_download_returns_the_uploaded_bytes(registry: Any) -> None:
    name = await registry.make_version("trainings/t1")

    received = [piece async for piece in registry.use.download_artifact(name, "model.json")]

    assert b"".join(received) == CONTENT
    with pytest.raises(FileNotInManifestError):
        [piece async for piece in registry.use.download_artifact(name, "../model.json")]


async def test_altered_and_lost_bytes_are_noticed_by_a_download(registry: Any, attempts: Any) -> None:
    name = await registry.make_version("trainings/t1")
    (path,) = stored(registry.content_folder)
    path.chmod(0o644)
    path.write_bytes(CONTENT.replace(b"ridge", b"rigid"))

    with pytest.raises(ArtifactAlteredError):
        [piece async for piece in registry.use.download_artifact(name, "model.json")]
    path.unlink()
    with pytest.raises(ArtifactAlteredError) as refused:
        [piece async for piece in registry.use.download_artifact(name, "model.json")]

    assert refused.value.sha256 == attempts.files()[0].sha256
