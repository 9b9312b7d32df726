"""The one directory that holds all state of a stack: what is where, and whether this release may use it."""

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from mltrainer_cli.errors import CliError

SCHEMA = 1
LOWEST_FREE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """Names the files of a data directory."""

    path: Path

    @classmethod
    def default_path(cls) -> Path:
        """Returns the directory in force when none is named."""
        home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        return Path(home) / "mltrainer"

    @property
    def record_file(self) -> Path:
        return self.path / "supervisor.json"

    @property
    def lock_file(self) -> Path:
        return self.path / "supervisor.lock"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def kafka(self) -> Path:
        return self.path / "kafka"

    @property
    def endpoints_file(self) -> Path:
        return self.path / "endpoints.json"

    @property
    def signing_folder(self) -> Path:
        """Holds the key that models are signed with, and the public keys that are trusted."""
        return self.path / "signing"

    @property
    def token_key_file(self) -> Path:
        return self.path / "token.key"

    @property
    def schema_file(self) -> Path:
        return self.path / "schema"

    @property
    def stack_id(self) -> str | None:
        """The mark that every process of this stack carries in its environment."""
        try:
            return (self.path / "stack_id").read_text().strip() or None
        except OSError:
            return None

    def prepare(self) -> None:
        """Creates what is missing.

        Raises:
            CliError: a newer release wrote it, it is not writable, or the disk is full.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.check_schema()
            self.check_space()
            self.logs.mkdir(exist_ok=True)
            self.schema_file.write_text(f"{SCHEMA}\n")
            if self.stack_id is None:
                (self.path / "stack_id").write_text(secrets.token_hex(16))
        except OSError as error:
            raise CliError.from_os_error(error, "use the data directory") from error

    def check_schema(self) -> None:
        """Refuses a directory that a newer release wrote."""
        try:
            found = int(self.schema_file.read_text())
        except FileNotFoundError:
            return
        except ValueError:
            raise CliError(
                f"{self.schema_file} is not a number: restore it, or choose another --data-directory."
            ) from None
        if found > SCHEMA:
            raise CliError(
                f"{self.path} was written by a newer release (schema {found}, this one knows {SCHEMA}): "
                "upgrade mltrainer, or choose another --data-directory."
            )

    def check_space(self) -> None:
        """Refuses a disk on which Kafka and the databases would fail soon."""
        free = shutil.disk_usage(self.path).free
        if free < LOWEST_FREE_BYTES:
            raise CliError(
                f"The disk is full: {free >> 20} MiB are free at {self.path}, at least "
                f"{LOWEST_FREE_BYTES >> 20} MiB are needed; free some or choose another --data-directory."
            )
