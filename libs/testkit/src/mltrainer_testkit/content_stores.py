"""Checks that a content store keeps its promises, wherever it keeps its bytes.

Each function takes an empty store and raises AssertionError; run `CHECKS` over every kind of store.
"""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from mltrainer_common.content_store import (
    ContentNotFoundError,
    ContentStore,
    DigestMismatchError,
    StoredContent,
)

Check = Callable[[ContentStore], None]
# More than an object store takes in one request.
_LARGE_BYTES = 11 << 20
_WRITERS = 8
# Clocks of this machine and of the store, and times cut to seconds.
_CLOCK_TOLERANCE = timedelta(seconds=2)


def check_content_is_found_under_its_digest(store: ContentStore) -> None:
    """Stores and reads, whole and from an offset."""
    digest = store.put_bytes(b"hello")
    assert digest == hashlib.sha256(b"hello").hexdigest()
    assert store.read_bytes(digest) == b"hello"
    assert b"".join(store.stream(digest, chunk_bytes=2, offset_bytes=1)) == b"ello"
    assert not list(store.stream(digest, offset_bytes=5))
    assert store.exists(digest)
    assert store.size_bytes(digest) == 5
    assert store.put_bytes(b"") == hashlib.sha256(b"").hexdigest()
    assert store.read_bytes(hashlib.sha256(b"").hexdigest()) == b""


def check_large_content_comes_back(store: ContentStore) -> None:
    """Streams more than fits one request."""
    pieces = [bytes([number]) * (1 << 20) for number in range(_LARGE_BYTES >> 20)]
    digest = store.put_stream(iter(pieces))
    assert list(store.stream(digest, chunk_bytes=1 << 20)) == pieces
    rest = b"".join(store.stream(digest, offset_bytes=_LARGE_BYTES - 10))
    assert rest == pieces[-1][-10:]


def check_nothing_is_visible_before_commit(store: ContentStore) -> None:
    """Leaves an upload without commit, with an error, and with another digest than announced."""
    digest = hashlib.sha256(b"hello").hexdigest()
    with store.upload() as upload:
        upload.write(b"hello")
        assert not store.exists(digest)
    with suppress(ZeroDivisionError), store.upload() as upload:
        upload.write(b"hello")
        _ = 1 / 0
    with suppress(DigestMismatchError):
        store.put_bytes(b"hullo", expected_digest=digest)
    assert not list(store.contents())
    assert not store.folder.drop_old_spools(datetime.now(UTC) + timedelta(days=1), dry_run=True)


def check_what_is_missing_is_not_found(store: ContentStore) -> None:
    """Reads, measures and fetches what was never stored; deleting it is no error."""
    digest = hashlib.sha256(b"never").hexdigest()
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        for use in (store.read_bytes, store.size_bytes, store.stored_time, lambda it: store.fetch(it, copy)):
            try:
                use(digest)
            except ContentNotFoundError:
                continue
            raise AssertionError(f"{use} found what was never stored")
        assert not copy.exists()
    assert not store.exists(digest)
    store.delete(digest)


def check_listing_names_everything_until_it_is_deleted(store: ContentStore) -> None:
    """Lists, tells the time of, and deletes."""
    before = datetime.now(UTC) - _CLOCK_TOLERANCE
    contents = {hashlib.sha256(text).hexdigest(): text for text in (b"one", b"two", b"three", b"")}
    for digest, text in contents.items():
        store.put_bytes(text, digest)
    listed = list(store.contents())
    assert listed == [StoredContent(digest, len(contents[digest])) for digest in sorted(contents)]
    assert all(
        before <= store.stored_time(it.digest) <= datetime.now(UTC) + _CLOCK_TOLERANCE for it in listed
    )
    for digest in contents:
        store.delete(digest)
        assert not store.exists(digest)
    assert not list(store.contents())


def check_writers_of_one_content_agree(store: ContentStore) -> None:
    """Stores the same content from many threads, while others read it."""
    content = b"x" * 300_000
    digest = hashlib.sha256(content).hexdigest()
    with ThreadPoolExecutor(_WRITERS) as pool:
        written = list(pool.map(lambda _: store.put_bytes(content, digest), range(4 * _WRITERS)))
        read = list(pool.map(lambda _: store.read_bytes(digest) == content, range(_WRITERS)))
    assert set(written) == {digest}
    assert all(read)
    assert [it.digest for it in store.contents()] == [digest]


CHECKS: tuple[Check, ...] = (
    check_content_is_found_under_its_digest,
    check_large_content_comes_back,
    check_nothing_is_visible_before_commit,
    check_what_is_missing_is_not_found,
    check_listing_names_everything_until_it_is_deleted,
    check_writers_of_one_content_agree,
)
