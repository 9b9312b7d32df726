import hashlib
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_common.content_store import (
    ContentNotFoundError,
    ContentStore,
    DigestMismatchError,
    InvalidDigestError,
)

HELLO = hashlib.sha256(b"hello").hexdigest()


@pytest.fixture(params=["directory", "object store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ContentStore:
    url = str(tmp_path / "artifacts") if request.param == "directory" else f"memory://{tmp_path.name}/bucket"
    return ContentStore(url)


def test_content_is_found_under_its_digest(store: ContentStore) -> None:
    digest = store.put_bytes(b"hello")

    assert digest == HELLO
    assert store.read_bytes(digest) == b"hello"
    assert store.exists(digest)
    assert store.size_bytes(digest) == 5
    assert store.uri(digest).endswith(f"/sha256/{HELLO[:2]}/{HELLO}")


def test_a_stream_is_stored_like_the_whole(store: ContentStore) -> None:
    assert store.put_stream(iter([b"he", b"", b"llo"])) == HELLO
    assert b"".join(store.stream(HELLO, chunk_bytes=2)) == b"hello"


def test_storing_again_changes_nothing(store: ContentStore) -> None:
    assert store.put_bytes(b"hello") == store.put_bytes(b"hello")
    assert store.read_bytes(HELLO) == b"hello"


def test_what_was_not_stored_is_not_found(store: ContentStore, tmp_path: Path) -> None:
    with pytest.raises(ContentNotFoundError):
        store.read_bytes(HELLO)
    with pytest.raises(ContentNotFoundError):
        store.size_bytes(HELLO)
    with pytest.raises(ContentNotFoundError):
        store.fetch(HELLO, tmp_path / "copy")
    assert not store.exists(HELLO)
    assert not (tmp_path / "copy").exists()


def test_content_other_than_expected_is_not_stored(store: ContentStore) -> None:
    with pytest.raises(DigestMismatchError):
        store.put_bytes(b"hullo", expected_digest=HELLO)

    assert not store.exists(HELLO)
    assert not store.exists(hashlib.sha256(b"hullo").hexdigest())


def test_an_upload_that_is_not_committed_leaves_nothing(tmp_path: Path) -> None:
    store = ContentStore(str(tmp_path))

    with store.upload() as upload:
        upload.write(b"hello")

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_fetched_copy_is_whole(store: ContentStore, tmp_path: Path) -> None:
    store.put_bytes(b"hello")

    store.fetch(HELLO, tmp_path / "deep" / "copy")

    assert (tmp_path / "deep" / "copy").read_bytes() == b"hello"


def test_deleted_content_is_gone_and_deleting_again_is_no_error(store: ContentStore) -> None:
    store.put_bytes(b"hello")

    store.delete(HELLO)
    store.delete(HELLO)

    assert not store.exists(HELLO)


def test_altered_content_is_never_returned(tmp_path: Path) -> None:
    store = ContentStore(str(tmp_path))
    store.put_bytes(b"hello")
    stored = tmp_path / "sha256" / HELLO[:2] / HELLO
    stored.chmod(0o644)
    stored.write_bytes(b"hullo")

    with pytest.raises(DigestMismatchError):
        store.read_bytes(HELLO)
    with pytest.raises(DigestMismatchError):
        store.fetch(HELLO, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_stored_files_are_read_only(tmp_path: Path) -> None:
    ContentStore(str(tmp_path)).put_bytes(b"hello")

    mode = (tmp_path / "sha256" / HELLO[:2] / HELLO).stat().st_mode

    assert stat.S_IMODE(mode) == 0o444


@pytest.mark.parametrize(
    "digest",
    [
        pytest.param("", id="empty"),
        pytest.param("../../etc/passwd", id="traversal"),
        pytest.param("/" + "a" * 63, id="absolute"),
        pytest.param("A" * 64, id="upper case"),
        pytest.param("a" * 64 + "\n", id="newline"),
        pytest.param("a" * 65, id="too long"),
        pytest.param("a" * 63 + "\0", id="null byte"),
    ],
)
def test_no_path_is_made_from_what_is_no_digest(store: ContentStore, digest: str) -> None:
    for use in (store.read_bytes, store.exists, store.size_bytes, store.delete, store.uri):
        with pytest.raises(InvalidDigestError):
            use(digest)


@given(content=st.binary(max_size=200_000), cut=st.integers(min_value=1, max_value=70_000))
def test_any_content_comes_back_unchanged(content: bytes, cut: int) -> None:
    store = ContentStore("memory://round-trip")
    chunks = [content[start : start + cut] for start in range(0, len(content), cut)]

    digest = store.put_stream(chunks)

    assert digest == hashlib.sha256(content).hexdigest()
    assert store.read_bytes(digest) == content
