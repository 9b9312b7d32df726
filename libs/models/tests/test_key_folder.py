import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from mltrainer_models.key_folder import KeyFolder, KeyFolderError


def maker() -> Callable[[], bytes]:
    numbers = count()
    return lambda: b"key %d" % next(numbers)


def public(key: bytes) -> bytes:
    return b"public " + key


def test_a_key_is_made_once_for_its_owner_only_and_trusted(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "signing")

    folder.create_missing(maker(), public)
    folder.create_missing(maker(), public)

    assert folder.private_key() == b"key 0"
    assert folder.trusted() == (b"public key 0",)
    assert stat.S_IMODE((tmp_path / "signing" / "key.pem").stat().st_mode) == 0o600


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    folder, create = KeyFolder(tmp_path), maker()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: folder.create_missing(create, public), range(16)))

    assert folder.trusted() == (public(folder.private_key()),)


def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path)
    folder.create_missing(maker(), public)
    (tmp_path / "key.pem").chmod(0o640)

    with pytest.raises(KeyFolderError, match="chmod 600"):
        folder.private_key()


def test_a_missing_key_says_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(KeyFolderError, match=r"key\.pem"):
        KeyFolder(tmp_path).private_key()


def test_keys_of_others_can_be_trusted_too(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path)

    folder.trust("partner.pem", b"theirs")
    folder.trust("partner.pem", b"another")

    assert folder.trusted() == (b"theirs",)
