"""Uploads that were cut go on where they were; limits and quotas name their numbers."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mltrainer_registry.application.upload_artifact import MAX_PIECE_BYTES, FilePiece, UploadArtifact
from mltrainer_registry.domain.errors import (
    ArtifactDigestMismatchError,
    ArtifactTooLargeError,
    FileTooLargeError,
    InvalidUploadError,
    ModelQuotaExceededError,
    OffsetOutOfRangeError,
    StaleFencingTokenError,
    UploadIncompleteError,
)
from mltrainer_registry.domain.manifests import ArtifactFile
from mltrainer_registry.domain.uploads import PART_BYTES, HeldPart, UploadLimits

LARGE = b"".join(bytes([number]) * (1 << 20) for number in range(20)) + b"tail"
PARTS = [LARGE[start : start + PART_BYTES] for start in range(0, len(LARGE), PART_BYTES)]


class CutError(Exception):
    """The connection is gone."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def announce(content: bytes = LARGE, training: str = "trainings/t1", model: str = "") -> UploadArtifact:
    file = ArtifactFile("model.bin", sha256(content), len(content))
    return UploadArtifact(training, 1, (file,), "", model)


async def pieces(
    content: bytes, start: int = 0, end: int | None = None, *, cut: bool = False, offset: bool = True
) -> AsyncIterator[FilePiece]:
    for begin in range(start, len(content) if end is None else end, MAX_PIECE_BYTES):
        data = content[begin : min(begin + MAX_PIECE_BYTES, len(content) if end is None else end)]
        yield FilePiece(0, data, begin if offset and begin == start else None)
    if cut:
        raise CutError


async def chain(*streams: AsyncIterator[FilePiece]) -> AsyncIterator[FilePiece]:
    for stream in streams:
        async for piece in stream:
            yield piece


def files(registry: Any) -> list[Path]:
    return [path for path in registry.content_folder.rglob("*") if path.is_file()]


async def cut_after(registry: Any, end: int) -> None:
    with pytest.raises(CutError):
        await registry.use.upload_artifact(announce(), pieces(LARGE, 0, end, cut=True))


async def held_parts(registry: Any) -> Sequence[HeldPart]:
    (held,) = await registry.use.get_upload(announce())
    parts: Sequence[HeldPart] = held.parts
    return parts


async def test_a_large_file_arrives_whole_and_its_parts_are_gone(registry: Any) -> None:
    await registry.use.upload_artifact(announce(), pieces(LARGE, offset=False))

    assert registry.content.read_bytes(sha256(LARGE)) == LARGE
    assert len(files(registry)) == 1
    (held,) = await registry.use.get_upload(announce())
    assert held.is_complete


async def test_a_cut_upload_tells_which_parts_it_holds(registry: Any) -> None:
    await cut_after(registry, 2 * PART_BYTES + 1)

    assert await held_parts(registry) == (HeldPart(0, sha256(PARTS[0])), HeldPart(1, sha256(PARTS[1])))
    assert not await registry.use.reader.is_uploaded("trainings/t1", announce().manifest_digest)


async def test_an_upload_goes_on_with_the_parts_that_are_missing(registry: Any) -> None:
    await cut_after(registry, PART_BYTES)

    await registry.use.upload_artifact(announce(), pieces(LARGE, PART_BYTES))

    assert registry.content.read_bytes(sha256(LARGE)) == LARGE
    assert len(files(registry)) == 1


async def test_a_gap_in_the_middle_is_filled(registry: Any) -> None:
    first, last = pieces(LARGE, 0, PART_BYTES), pieces(LARGE, 2 * PART_BYTES)
    with pytest.raises(UploadIncompleteError) as refused:
        await registry.use.upload_artifact(announce(), chain(first, last))
    assert (refused.value.first_missing_part, refused.value.missing_count) == (1, 1)

    await registry.use.upload_artifact(announce(), pieces(LARGE, PART_BYTES, 2 * PART_BYTES))

    assert registry.content.read_bytes(sha256(LARGE)) == LARGE


async def test_a_damaged_part_is_told_by_its_digest_and_sent_again(registry: Any) -> None:
    damaged = b"!" + LARGE[1:]
    with pytest.raises(CutError):
        await registry.use.upload_artifact(announce(), pieces(damaged, 0, PART_BYTES, cut=True))
    assert [part.sha256 == sha256(PARTS[0]) for part in await held_parts(registry)] == [False]

    await registry.use.upload_artifact(announce(), pieces(LARGE))

    assert registry.content.read_bytes(sha256(LARGE)) == LARGE


async def test_parts_that_do_not_make_the_file_are_refused_and_dropped(registry: Any) -> None:
    damaged = b"!" + LARGE[1:]

    with pytest.raises(ArtifactDigestMismatchError):
        await registry.use.upload_artifact(announce(), pieces(damaged))

    assert files(registry) == []


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param([FilePiece(0, b"x", 5)], id="within a part"),
        pytest.param([FilePiece(0, b"x", PART_BYTES - 1)], id="before a part"),
        pytest.param([FilePiece(0, b"x"), FilePiece(0, b"x", PART_BYTES)], id="a part left half"),
        pytest.param([FilePiece(0, PARTS[1][: 1 << 20], PART_BYTES), FilePiece(0, b"x", 0)], id="back"),
        pytest.param([FilePiece(0, b"x", 3 * PART_BYTES)], id="behind the end"),
        pytest.param([FilePiece(0, b"x", -PART_BYTES)], id="negative"),
        pytest.param([FilePiece(0, b"x")], id="ends within a part"),
    ],
)
async def test_an_offset_that_begins_no_part_is_refused(registry: Any, wrong: list[FilePiece]) -> None:
    async def stream() -> AsyncIterator[FilePiece]:
        for piece in wrong:
            yield piece

    with pytest.raises(InvalidUploadError):
        await registry.use.upload_artifact(announce(), stream())


async def test_parts_of_one_training_say_nothing_to_another(registry: Any) -> None:
    await cut_after(registry, PART_BYTES)

    (held,) = await registry.use.get_upload(announce(training="trainings/t2"))

    assert held.parts == ()


async def test_a_stale_attempt_is_told_nothing(registry: Any) -> None:
    with pytest.raises(StaleFencingTokenError):
        await registry.use.get_upload(UploadArtifact("trainings/t1", 0, announce().files, ""))


async def test_a_download_goes_on_at_an_offset(registry: Any) -> None:
    name = await registry.make_version("trainings/t1")

    async def read(offset_bytes: int) -> bytes:
        return b"".join([it async for it in registry.use.download_artifact(name, "model.json", offset_bytes)])

    whole = await read(0)
    assert [await read(3), await read(len(whole))] == [whole[3:], b""]
    for offset_bytes in (-1, len(whole) + 1):
        with pytest.raises(OffsetOutOfRangeError):
            await read(offset_bytes)


def test_limits_name_what_exceeds_them() -> None:
    limits = UploadLimits(file_bytes=10, version_bytes=15, model_bytes=20)

    with pytest.raises(FileTooLargeError) as too_large:
        limits.check_files([ArtifactFile("a", "a" * 64, 11)])
    with pytest.raises(ArtifactTooLargeError) as together:
        limits.check_files([ArtifactFile("a", "a" * 64, 10), ArtifactFile("b", "b" * 64, 6)])

    assert (too_large.value.path, too_large.value.size_bytes, too_large.value.limit_bytes) == ("a", 11, 10)
    assert (together.value.size_bytes, together.value.limit_bytes) == (16, 15)


async def test_a_model_holds_each_content_once_up_to_its_quota(registry: Any) -> None:
    limits = UploadLimits(file_bytes=100, version_bytes=100, model_bytes=25)
    upload_artifact = replace(registry.use.upload_artifact, limits=limits)

    async def upload(training: str, content: bytes, model: str = "vol5") -> None:
        await upload_artifact(announce(content, training, model), pieces(content))

    await upload("trainings/t1", b"a" * 20)
    await upload("trainings/t2", b"a" * 20)
    await upload("trainings/t3", b"b" * 20, "another")
    with pytest.raises(ModelQuotaExceededError) as refused:
        await upload("trainings/t4", b"c" * 6)

    facts = (refused.value.model, refused.value.used_bytes, refused.value.added_bytes)
    assert (*facts, refused.value.limit_bytes) == ("vol5", 20, 6, 25)
    assert len(files(registry)) == 2


async def test_uploads_that_name_no_model_share_a_quota(registry: Any) -> None:
    limits = UploadLimits(file_bytes=100, version_bytes=100, model_bytes=25)
    upload_artifact = replace(registry.use.upload_artifact, limits=limits)
    await upload_artifact(announce(b"a" * 20, "trainings/t1"), pieces(b"a" * 20))

    with pytest.raises(ModelQuotaExceededError) as refused:
        await upload_artifact(announce(b"b" * 6, "trainings/t2"), pieces(b"b" * 6))

    assert (refused.value.model, refused.value.used_bytes) == ("", 20)
