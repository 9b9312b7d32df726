"""Reads the losses by day that travel with versions."""

from collections import OrderedDict
from contextlib import aclosing

import structlog
from mltrainer_models import EVALUATION_FILE, ArtifactError, ModelEvaluation, read_evaluation

from mltrainer_registry.application.ports import ArtifactStore
from mltrainer_registry.domain.errors import ArtifactAlteredError
from mltrainer_registry.domain.manifests import Manifest

_log = structlog.get_logger()

_LARGEST_BYTES = 4 << 20
_KEPT = 64


class NoEvaluations:
    """Knows of no losses."""

    async def of(self, manifest: Manifest) -> ModelEvaluation | None:  # noqa: ARG002 - a port
        """Returns nothing."""
        return None


class ContentEvaluations:
    """Reads them from the content store once and keeps those asked for lately."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts
        self._kept: OrderedDict[str, ModelEvaluation | None] = OrderedDict()

    async def of(self, manifest: Manifest) -> ModelEvaluation | None:
        """Returns the losses; a file that cannot be read leaves the comparison to standard errors."""
        file = manifest.file(EVALUATION_FILE)
        if file is None or file.size_bytes > _LARGEST_BYTES:
            return None
        if file.sha256 not in self._kept:
            try:
                async with aclosing(self._artifacts.read(file)) as pieces:
                    content = b"".join([piece async for piece in pieces])
                self._kept[file.sha256] = read_evaluation(content)
            except (ArtifactAlteredError, ArtifactError) as error:
                _log.warning("evaluation_unreadable", sha256=file.sha256, error=str(error))
                return None
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(file.sha256)
        return self._kept[file.sha256]
