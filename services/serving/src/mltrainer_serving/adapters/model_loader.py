"""Loads versions from the content store: bytes are verified by digest before anything parses them."""

import asyncio
from dataclasses import dataclass

from mltrainer_common.content_store import (
    ContentNotFoundError,
    ContentStore,
    DigestMismatchError,
    InvalidDigestError,
)
from mltrainer_models import ArtifactError, Predictor, load_predictor

from mltrainer_serving.application.ports import ModelLoadError
from mltrainer_serving.domain.deployment import Version


@dataclass(frozen=True, slots=True)
class ContentStoreModelLoader:
    """Reads a version's files by digest and warms it up with one row."""

    store: ContentStore

    async def load(self, version: Version) -> Predictor:
        """Returns the predictor.

        Raises:
            ModelLoadError: Bytes are missing, altered or not a model.
        """
        return await asyncio.to_thread(self._load, version)

    def _load(self, version: Version) -> Predictor:
        try:
            files = {file.path: self.store.read_bytes(file.sha256) for file in version.files}
            predictor = load_predictor(files)
        except (
            ContentNotFoundError,
            DigestMismatchError,
            InvalidDigestError,
            ArtifactError,
            OSError,
        ) as error:
            raise ModelLoadError(f"{version.name} cannot be loaded: {error}") from error
        predictor.predict([[0.0] * len(predictor.feature_names)])
        return predictor
