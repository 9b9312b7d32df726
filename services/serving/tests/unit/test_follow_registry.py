from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from mltrainer_serving.application.follow_registry import FollowRegistry
from mltrainer_serving.application.ports import (
    AliasChange,
    CaughtUp,
    FeatureViewsUnknownError,
    ModelLoadError,
    ModelRefusedError,
    RegistryUnavailableError,
)
from mltrainer_serving.application.route_table import RouteTable
from mltrainer_serving.domain.deployment import DeployedAlias, Version
from mltrainer_serving.domain.errors import ModelNotReadyError, ModelNotServedError

NOW = datetime(2022, 6, 1, tzinfo=UTC)


def _version(number: int) -> Version:
    return Version("vol5", number, f"digest-{number}", ())


def _change(number: int, revision: int) -> AliasChange:
    return AliasChange("champion", _version(number), revision, "")


@dataclass
class FakeModel:
    version: Version
    feature_names: Sequence[str] = ("a",)
    feature_views: Mapping[str, str] = field(default_factory=dict)

    def predict(self, matrix: object) -> object:
        return matrix


@dataclass
class FakeLoader:
    broken: set[int] = field(default_factory=set)
    batch_only: set[int] = field(default_factory=set)
    loads: list[int] = field(default_factory=list)
    views: dict[int, dict[str, str]] = field(default_factory=dict)

    async def load(self, version: Version) -> FakeModel:
        self.loads.append(version.number)
        if version.number in self.broken:
            raise ModelLoadError("altered bytes")
        if version.number in self.batch_only:
            raise ModelRefusedError("BATCH_ONLY")
        return FakeModel(version, feature_views=self.views.get(version.number, {}))


@dataclass
class InMemoryDeploymentRepository:
    saved: dict[tuple[str, str], DeployedAlias] = field(default_factory=dict)

    async def load(self) -> Sequence[DeployedAlias]:
        return list(self.saved.values())

    async def save(self, deployed: DeployedAlias) -> None:
        self.saved[deployed.model, deployed.alias] = deployed


@dataclass
class FakeFeed:
    script: list[AliasChange | CaughtUp]
    asked: list[int] = field(default_factory=list)

    async def changes(self, from_revision: int) -> AsyncIterator[AliasChange | CaughtUp]:
        self.asked.append(from_revision)
        for change in self.script:
            yield change
        raise RegistryUnavailableError("end of script")


@dataclass
class FakeFeatureViews:
    defined: dict[str, str] | None

    async def digests(self) -> Mapping[str, str]:
        if self.defined is None:
            raise FeatureViewsUnknownError("the feature service answers UNAVAILABLE")
        return self.defined


class FixedClock:
    def now(self) -> datetime:
        return NOW


@contextmanager
def _unobserved(_deployed: DeployedAlias) -> Iterator[None]:
    yield


def _follower(
    loader: FakeLoader, repository: InMemoryDeploymentRepository, feed: FakeFeed | None = None
) -> FollowRegistry:
    return FollowRegistry(RouteTable(), loader, repository, feed or FakeFeed([]), FixedClock(), _unobserved)


async def test_an_alias_change_swaps_what_answers() -> None:
    follower = _follower(FakeLoader(), InMemoryDeploymentRepository())

    await follower.apply(_change(1, 10))
    await follower.apply(_change(2, 11))

    assert follower.routes.resolve("vol5", "").number == 2


async def test_an_older_or_repeated_change_is_ignored() -> None:
    loader = FakeLoader()
    follower = _follower(loader, InMemoryDeploymentRepository())

    for change in (_change(2, 11), _change(1, 10), _change(2, 11)):
        await follower.apply(change)

    assert follower.routes.resolve("vol5", "champion").number == 2
    assert loader.loads == [2]


async def test_a_version_that_cannot_be_loaded_leaves_the_old_one_answering() -> None:
    follower = _follower(FakeLoader(broken={2}), InMemoryDeploymentRepository())

    await follower.apply(_change(1, 10))
    await follower.apply(_change(2, 11))

    answerer = follower.routes.resolve("vol5", "")
    assert (answerer.number, answerer.deployed.wanted.number, answerer.deployed.error) == (
        1,
        2,
        "altered bytes",
    )


async def test_a_failed_load_is_tried_again_at_the_next_bookmark() -> None:
    loader = FakeLoader(broken={1})
    feed = FakeFeed([_change(1, 10), CaughtUp(10)])
    follower = _follower(loader, InMemoryDeploymentRepository(), feed)
    with pytest.raises(RegistryUnavailableError):
        await follower.follow()
    loader.broken.clear()

    with pytest.raises(RegistryUnavailableError):
        await follower.follow()

    assert follower.routes.resolve("vol5", "").number == 1


async def test_a_refused_model_is_tried_once_and_leaves_the_old_one_answering() -> None:
    loader = FakeLoader(batch_only={2})
    feed = FakeFeed([_change(1, 10), _change(2, 11), CaughtUp(11), CaughtUp(12)])
    follower = _follower(loader, InMemoryDeploymentRepository(), feed)

    for _ in range(3):
        with pytest.raises(RegistryUnavailableError):
            await follower.follow()

    answerer = follower.routes.resolve("vol5", "")
    assert loader.loads == [1, 2]
    assert (answerer.number, answerer.deployed.error) == (1, "BATCH_ONLY")


async def test_an_alias_moves_on_from_a_refused_model() -> None:
    follower = _follower(FakeLoader(batch_only={1}), InMemoryDeploymentRepository())
    await follower.apply(_change(1, 10))

    await follower.apply(_change(2, 11))

    answerer = follower.routes.resolve("vol5", "")
    assert (answerer.number, answerer.deployed.error, answerer.deployed.is_refused) == (2, "", False)


async def test_a_restart_asks_once_whether_a_refused_model_is_served_now() -> None:
    repository = InMemoryDeploymentRepository()
    await _follower(FakeLoader(batch_only={1}), repository).apply(_change(1, 10))
    loader = FakeLoader(batch_only={1})
    restarted = _follower(loader, repository, FakeFeed([CaughtUp(10)]))

    await restarted.restore()
    with pytest.raises(RegistryUnavailableError):
        await restarted.follow()

    assert loader.loads == [1]
    with pytest.raises(ModelNotReadyError):
        restarted.routes.resolve("vol5", "")


async def test_a_stream_that_breaks_before_its_bookmark_is_repeated_from_the_start() -> None:
    feed = FakeFeed([_change(1, 10)])
    follower = _follower(FakeLoader(), InMemoryDeploymentRepository(), feed)

    for _ in range(2):
        with pytest.raises(RegistryUnavailableError):
            await follower.follow()

    assert feed.asked == [0, 0]


async def test_a_restart_answers_without_the_registry() -> None:
    repository = InMemoryDeploymentRepository()
    await _follower(FakeLoader(), repository).apply(_change(3, 12))
    restarted = _follower(FakeLoader(), repository)

    await restarted.restore()

    assert restarted.routes.resolve("vol5", "").number == 3


async def test_a_restart_with_altered_bytes_says_not_ready() -> None:
    repository = InMemoryDeploymentRepository()
    await _follower(FakeLoader(), repository).apply(_change(3, 12))
    restarted = _follower(FakeLoader(broken={3}), repository)

    await restarted.restore()

    with pytest.raises(ModelNotReadyError):
        restarted.routes.resolve("vol5", "")


@pytest.mark.parametrize("version", ["4", "challenger", "x", "-1"])
async def test_an_unknown_version_is_not_served(version: str) -> None:
    follower = _follower(FakeLoader(), InMemoryDeploymentRepository())
    await follower.apply(_change(3, 12))

    with pytest.raises(ModelNotServedError):
        follower.routes.resolve("vol5", version)


@pytest.mark.parametrize(
    ("defined", "error"),
    [
        ({"returns": "new-digest"}, "trained on returns old-digest, which is new-digest now"),
        ({"volatility": "old-digest"}, "trained on returns old-digest, which is not defined any more"),
        (None, "waits for the definitions of its views: the feature service answers UNAVAILABLE"),
    ],
)
async def test_a_version_trained_on_other_views_leaves_the_old_one_answering(
    defined: dict[str, str] | None, error: str
) -> None:
    follower = _follower(FakeLoader(views={2: {"returns": "old-digest"}}), InMemoryDeploymentRepository())
    follower.views = FakeFeatureViews(defined)

    await follower.apply(_change(1, 10))
    await follower.apply(_change(2, 11))

    answerer = follower.routes.resolve("vol5", "")
    assert answerer.number == 1
    assert error in answerer.deployed.error


async def test_a_version_is_served_once_its_views_are_defined_as_it_was_trained() -> None:
    views = FakeFeatureViews({"returns": "new"})
    follower = _follower(
        FakeLoader(views={1: {"returns": "old"}}),
        InMemoryDeploymentRepository(),
        FakeFeed([_change(1, 10), CaughtUp(10)]),
    )
    follower.views = views
    with pytest.raises(RegistryUnavailableError):
        await follower.follow()
    views.defined = {"returns": "old"}

    with pytest.raises(RegistryUnavailableError):
        await follower.follow()

    assert follower.routes.resolve("vol5", "").number == 1


async def test_a_restart_serves_what_it_served_without_asking_for_views() -> None:
    loader, repository = FakeLoader(views={1: {"returns": "old"}}), InMemoryDeploymentRepository()
    before = _follower(loader, repository)
    await before.apply(_change(1, 10))
    after = _follower(loader, repository)
    after.views = FakeFeatureViews(None)

    await after.restore()

    assert after.routes.resolve("vol5", "").number == 1
