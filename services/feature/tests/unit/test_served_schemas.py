"""A registry of others loses views while it is served."""

from pathlib import Path

import pytest
from mltrainer_feature.adapters.registry_file import ServedSchemas
from mltrainer_feature.domain.definitions import Definitions, FeatureList, plan_changes
from mltrainer_feature.domain.errors import FeatureListRemovedError, FeatureViewRemovedError
from mltrainer_feature.domain.online import OnlineSchema
from mltrainer_feature.wire.feast_registry import REGISTRY_FILE
from mltrainer_feature.wire.feast_stubs import registry_pb2

NOTHING = OnlineSchema({}, {})


def write(path: Path, *views: str) -> None:
    """Writes a registry that holds only some of the compiled views, and no service that reads others."""
    registry = registry_pb2.Registry.FromString(REGISTRY_FILE.read_bytes())
    kept = [view for view in registry.feature_views if view.spec.name in views]
    del registry.feature_views[:]
    registry.feature_views.extend(kept)
    unfinished = path.with_suffix(".new")
    unfinished.write_bytes(registry.SerializeToString())
    unfinished.replace(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


async def test_a_view_that_leaves_the_registry_is_named_until_it_is_back(path: Path) -> None:
    write(path, "market_returns", "market_volatility")
    schemas = ServedSchemas(NOTHING, path)
    await schemas.refresh()
    before = schemas.current

    write(path, "market_volatility")
    await schemas.refresh()
    without = schemas.current
    write(path, "market_volatility", "market_momentum")
    await schemas.refresh()

    assert before.select(["market_returns:return_1"])
    assert before.removed_views == frozenset()
    for schema in (without, schemas.current):
        with pytest.raises(FeatureViewRemovedError, match="market_returns"):
            schema.select(["market_returns:return_1"])
        with pytest.raises(FeatureListRemovedError, match=r"volatility_v1 was removed with .*market_returns"):
            schema.service("volatility_v1")
    write(path, "market_returns", "market_volatility")
    await schemas.refresh()
    assert schemas.current.service("volatility_v1")
    assert schemas.current.removed_views == {"market_momentum"}
    assert schemas.current.removed_services == {}
    assert schemas.current.revision > without.revision > before.revision


async def test_older_definitions_change_nothing(path: Path) -> None:
    write(path, "market_returns")
    schemas = ServedSchemas(NOTHING, path)
    (change,) = plan_changes(
        Definitions(), [FeatureList("desk_v1", 0, "", ("market_returns:return_1",))], prune=False
    )
    schemas.define(Definitions([change.after]))
    schemas.define(Definitions())

    await schemas.refresh()

    assert schemas.current.lists == {"desk_v1": ("market_returns:return_1",)}
