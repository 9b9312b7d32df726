"""Keeps the key that this installation signs with, and the public keys that it trusts, in a folder."""

import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_PRIVATE = "key.pem"
_TRUSTED = "trusted"
_OWN = "own.pem"


class KeyFolderError(Exception):
    """The private key cannot be used; the text says what to do."""


@dataclass(frozen=True, slots=True)
class KeyFolder:
    """Holds `key.pem`, readable by its owner only, and `trusted/*.pem`."""

    path: Path

    def private_key(self) -> bytes:
        """Returns the private key.

        Raises:
            KeyFolderError: There is none, or others may read it.
        """
        file = self.path / _PRIVATE
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
            content = file.read_bytes()
        except OSError as error:
            raise KeyFolderError(
                f"{file} cannot be read ({error.strerror}): put the signing key there"
            ) from error
        if mode & 0o077:
            raise KeyFolderError(f"{file} can be read by others: run `chmod 600 {file}`")
        return content

    def create_missing(self, create: Callable[[], bytes], public: Callable[[bytes], bytes]) -> None:
        """Makes a key and trusts it, unless there is one; many processes may do so at once."""
        if not (self.path / _PRIVATE).exists():
            self.path.mkdir(parents=True, exist_ok=True)
            _place(self.path / _PRIVATE, create(), 0o600)
        if not (self.path / _TRUSTED / _OWN).exists():
            self.trust(_OWN, public(self.private_key()))

    def trusted(self) -> tuple[bytes, ...]:
        """Returns the public keys that are trusted."""
        return tuple(file.read_bytes() for file in sorted((self.path / _TRUSTED).glob("*.pem")))

    def trust(self, name: str, public_key: bytes) -> None:
        """Trusts a public key from now on; a name that is taken keeps its key."""
        folder = self.path / _TRUSTED
        folder.mkdir(parents=True, exist_ok=True)
        _place(folder / name, public_key, 0o644)


def _place(file: Path, content: bytes, mode: int) -> None:
    draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as target:
            target.write(content)
            target.flush()
            os.fsync(target.fileno())
        os.link(draft, file)
    except FileExistsError:
        pass  # another process was first; its key counts
    finally:
        draft.unlink()
