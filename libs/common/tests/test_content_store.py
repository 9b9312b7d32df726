import fcntl
import hashlib
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_common.content_store import ContentStore, DigestMismatchError, InvalidDigestError
from mltrainer_testkit.content_stores import CHECKS

HELLO = hashlib.sha256(b"hello").hexdigest()


@pytest.fixture(params=["directory", "object store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ContentStore:
    url = str(tmp_path / "artifacts") if request.param == "directory" else f"memory://{tmp_path.name}/bucket"
    return ContentStore(url)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_every_store_keeps_the_promises(store: ContentStore, check: Callable[[ContentStore], None]) -> None:
    check(store)


def test_a_uri_tells_where_content_lies(store: ContentStore) -> None:
    assert store.uri(HELLO).endswith(f"/sha256/{HELLO[:2]}/{HELLO}")


def test_a_fetched_copy_is_whole(store: ContentStore, tmp_path: Path) -> None:
    store.put_bytes(b"hello")

    store.fetch(HELLO, tmp_path / "deep" / "copy")

    assert (tmp_path / "deep" / "copy").read_bytes() == b"hello"


def test_a_damaged_copy_is_healed_by_storing_it_again(tmp_path: Path) -> None:
    store = ContentStore(str(tmp_path))
    store.put_bytes(b"hello")
    stored = tmp_path / "sha256" / HELLO[:2] / HELLO
    stored.chmod(0o644)
    stored.write_bytes(b"hullo")

    store.put_bytes(b"hello")

    assert store.read_bytes(HELLO) == b"hello"


def test_spools_of_killed_processes_are_found_by_their_age(tmp_path: Path) -> None:
    store = ContentStore(str(tmp_path))
    (tmp_path / "incoming").mkdir()
    old, young = tmp_path / "incoming" / "old", tmp_path / "incoming" / "young"
    for path in (old, young):
        path.write_bytes(b"half")
    now = datetime.now(UTC)
    os.utime(old, times=((now - timedelta(days=2)).timestamp(),) * 2)

    assert store.folder.drop_old_spools(now - timedelta(days=1), dry_run=True) == 1
    assert old.exists()
    assert store.folder.drop_old_spools(now - timedelta(days=1)) == 1
    assert not old.exists()
    with store.upload() as upload:
        upload.write(b"hello")
        assert store.folder.drop_old_spools(now + timedelta(days=1)) == 1
        upload.commit(HELLO)
    assert not young.exists()
    assert store.read_bytes(HELLO) == b"hello"


def test_a_spool_that_is_dropped_before_its_lock_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ContentStore(str(tmp_path))
    lock = fcntl.flock
    dropped: list[int] = []

    def drop_first(file: Any, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        dropped.append(store.folder.drop_old_spools(datetime.now(UTC) + timedelta(days=1)))
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", drop_first)
    store.put_bytes(b"hello")

    assert dropped == [1]
    assert store.read_bytes(HELLO) == b"hello"


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
