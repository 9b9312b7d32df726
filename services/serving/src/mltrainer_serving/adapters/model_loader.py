"""Loads versions from the content store, verified before anything parses them."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mltrainer_common.content_store import (
    ContentNotFoundError,
    ContentStore,
    DigestMismatchError,
    InvalidDigestError,
)
from mltrainer_models import (
    COMPANION_FILES,
    MODEL_FILE,
    SIGNATURE_FILE,
    ArtifactError,
    BatchOnlyError,
    ManifestEntry,
    Predictor,
    load_predictor,
)

from mltrainer_serving.application.ports import ModelLoadError, ModelRefusedError
from mltrainer_serving.domain.deployment import ArtifactFile, Version


@dataclass(frozen=True, slots=True)
class SignaturePolicy:
    """Says whose models are served.

    Attributes:
        trusted: Returns the public keys that are trusted now.
        is_required: Whether a version needs a signature of one of them. A signature that claims to be theirs
            and does not hold is refused in any case.
    """

    trusted: Callable[[], Sequence[bytes]] = tuple
    is_required: bool = False


_Key = tuple[tuple[ArtifactFile, ...], tuple[bytes, ...]]


@dataclass(frozen=True, slots=True)
class ContentStoreModelLoader:
    """Verifies a version's signature, then its files, and warms it up with one row.

    What was verified and parsed is kept by its digests: an alias that moves back is served at once.
    """

    store: ContentStore
    policy: SignaturePolicy = field(default_factory=SignaturePolicy)
    cached_bytes: int = 512 << 20
    _loaded: OrderedDict[_Key, tuple[Predictor, int]] = field(default_factory=OrderedDict)

    async def load(self, version: Version) -> Predictor:
        """Returns the predictor.

        Raises:
            ModelRefusedError: The model predicts in batch only.
            ModelLoadError: Bytes are missing, altered, not signed by whom they should, or not a model.
        """
        return await asyncio.to_thread(self._load, version)

    def _load(self, version: Version) -> Predictor:
        trusted = tuple(self.policy.trusted())
        key = (version.files, trusted)
        if key in self._loaded:
            self._loaded.move_to_end(key)
            return self._loaded[key][0]
        try:
            predictor, size_bytes = self._read(version, trusted)
        except BatchOnlyError as error:
            raise ModelRefusedError(
                f"BATCH_ONLY: {version.name} is a {error.catalogue_id}, which predicts in batch only, where "
                "its library is installed: name a model that answers row by row"
            ) from error
        except (
            ContentNotFoundError,
            DigestMismatchError,
            InvalidDigestError,
            ArtifactError,
            OSError,
        ) as error:
            raise ModelLoadError(f"{version.name} cannot be loaded: {error}") from error
        predictor.predict([[0.0] * len(predictor.feature_names)])
        self._keep(key, predictor, size_bytes)
        return predictor

    def _read(self, version: Version, trusted: Sequence[bytes]) -> tuple[Predictor, int]:
        if MODEL_FILE not in {file.path for file in version.files}:
            raise ArtifactError(MODEL_FILE, "missing: the version is kept and cannot be served")
        self._check_signature(version, trusted)
        files: dict[str, bytes] = {}
        for file in version.files:
            if file.path in COMPANION_FILES:
                for _ in self.store.stream(file.sha256):
                    pass
            else:
                files[file.path] = self.store.read_bytes(file.sha256)
        return load_predictor(files), sum(map(len, files.values()))

    def _check_signature(self, version: Version, trusted: Sequence[bytes]) -> None:
        signature = next((file for file in version.files if file.path == SIGNATURE_FILE), None)
        if signature is None:
            if self.policy.is_required:
                raise ArtifactError(SIGNATURE_FILE, "missing: only signed versions are served here")
            return
        # 0.1 s to import: only where there is a signature.
        from mltrainer_models.signatures import SignatureError, UnknownKeyError, verify_signature

        entries = [ManifestEntry(file.path, file.sha256, 0) for file in version.files]
        try:
            verify_signature(self.store.read_bytes(signature.sha256), entries, trusted)
        except UnknownKeyError as error:
            if self.policy.is_required:
                raise ArtifactError(SIGNATURE_FILE, str(error)) from error
        except SignatureError as error:
            raise ArtifactError(SIGNATURE_FILE, str(error)) from error

    def _keep(self, key: _Key, predictor: Predictor, size_bytes: int) -> None:
        self._loaded[key] = (predictor, size_bytes)
        while len(self._loaded) > 1 and sum(size for _, size in self._loaded.values()) > self.cached_bytes:
            self._loaded.popitem(last=False)
