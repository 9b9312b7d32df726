"""Stores of earlier releases: files of versions are taken over once, datasets stay where they are."""

from pathlib import Path
from typing import Any

import pytest
from mltrainer_common.content_store import ContentStore
from mltrainer_registry.adapters.adoption import adopt_contents
from mltrainer_registry.application.collect_garbage import GarbageReport
from mltrainer_registry.entrypoints.garbage import GarbageLoop, GarbageMetrics
from prometheus_client import CollectorRegistry


def digests(store: ContentStore) -> list[str]:
    return [content.digest for content in store.contents()]


async def test_files_of_versions_are_taken_over_once(registry: Any, tmp_path: Path) -> None:
    await registry.make_version("trainings/t1")
    dataset = registry.content.put_bytes(b"a dataset")
    new = ContentStore(str(tmp_path / "new"))

    adopted = await adopt_contents(registry.database, registry.content, new)
    again = await adopt_contents(registry.database, registry.content, new)

    assert (adopted, again) == (1, 0)
    assert digests(new) == [digest for digest in digests(registry.content) if digest != dataset]


async def test_what_is_lost_does_not_keep_the_registry_from_starting(registry: Any, tmp_path: Path) -> None:
    await registry.make_version("trainings/t1")
    (digest,) = digests(registry.content)
    registry.content.delete(digest)

    assert await adopt_contents(registry.database, registry.content, ContentStore(str(tmp_path / "new"))) == 0


class EndOfTestError(Exception):
    """Ends a loop that has no end."""


class Collections:
    """Gives its outcomes one after the other."""

    def __init__(self, *outcomes: GarbageReport | Exception) -> None:
        self.outcomes = list(outcomes)

    async def __call__(self, *, dry_run: bool) -> GarbageReport:
        assert not dry_run
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def test_an_outage_only_delays_the_next_collection() -> None:
    report = GarbageReport(scanned_count=5, garbage_count=2, garbage_bytes=70, expired_upload_count=1)
    collect: Any = Collections(report, OSError("the store is away"), report, EndOfTestError())
    metrics = CollectorRegistry()

    with pytest.raises(EndOfTestError):
        await GarbageLoop(collect, GarbageMetrics(metrics), 0).run()

    names = ("stored_files", "garbage_files_total", "garbage_bytes_total", "expired_uploads_total")
    assert [metrics.get_sample_value(f"mltrainer_registry_{name}") for name in names] == [3, 4, 140, 2]
