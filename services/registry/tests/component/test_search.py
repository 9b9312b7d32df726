"""Searches, lineage and cards, on every database."""

from typing import Any

import pytest
from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer_registry.application.archive_version import ArchiveVersion
from mltrainer_registry.application.move_alias import MoveAlias
from mltrainer_registry.application.update_details import UpdateModel, UpdateVersion
from mltrainer_registry.domain.aliases import Motive
from mltrainer_registry.domain.details import Details, DetailsChange
from mltrainer_registry.domain.errors import InvalidFieldError, VersionNotFoundError
from mltrainer_registry.domain.lineage import NodeKind, Origin
from mltrainer_registry.domain.names import AliasName, VersionName
from mltrainer_registry.wire.cards import to_card
from mltrainer_registry.wire.searches import to_model_search, to_version_search

ADA = Motive("users/ada", "because")


async def deliver(
    registry: Any, attempts: Any, number: int, *, study: str = "vol5", **facts: Any
) -> VersionName:
    event = attempts.succeeded(f"trainings/{study}-{number}", study=study, r2=facts.get("r2", number / 10))
    event.lineage.feature_view_versions[:] = [facts.get("view", "bars@1")]
    event.lineage.dataset = facts.get("dataset", "datasets/d1")
    event.lineage.parent_version = facts.get("parent", "")
    event.spec.owner = facts.get("owner", "users/ada")
    event.result.signature.inputs.add(name="a|b", data_type="float64")
    event.result.signature.outputs.add(name="prediction", data_type="float64")
    _, name = await registry.deliver(event)
    return VersionName(name.model, name.number)


async def tag(registry: Any, name: VersionName, **tags: str) -> None:
    change = DetailsChange(Details("", tags), ("tags",))
    await registry.use.governance.update_version(UpdateVersion(name, change, ""))


@pytest.fixture
async def stocked(registry: Any, attempts: Any) -> Any:
    """Holds vol5 with versions 1 to 4 and ret5 with version 1."""
    for number in range(1, 5):
        await deliver(registry, attempts, number, owner=f"users/{'ada' if number % 2 else 'bob'}")
        registry.clock.advance(60)
    await deliver(registry, attempts, 1, study="ret5", r2=float("nan"), view="bars@2")
    await tag(registry, VersionName("vol5", 1), env="prod", team="vol")
    await tag(registry, VersionName("vol5", 2), env="test_1")
    await registry.use.archive_version(ArchiveVersion(VersionName("vol5", 3), ""))
    await registry.use.move_alias(MoveAlias(AliasName("vol5", "blue"), VersionName("vol5", 2), None, ADA, ""))
    model = DetailsChange(Details("Five days of %_*[?]", {"team": "vol"}), ("tags", "description"))
    await registry.use.governance.update_model(UpdateModel("vol5", model, ""))
    return registry


async def found(registry: Any, text: str, parent: str = "models/vol5", order_by: str = "") -> list[str]:
    request = api.ListModelVersionsRequest(parent=parent, filter=text, order_by=order_by)
    model = None if parent == "models/-" else "vol5"
    page = await registry.use.search.search.versions(model, to_version_search(request, model), 100, "")
    return [f"{one.name.model[0]}{one.name.number}" for one in page.items]


FOUND = {
    "": "v4 v3 v2 v1",
    "number > 2.5": "v4 v3",
    "state = ARCHIVED": "v3",
    "verdict = EDGE AND NOT state = ARCHIVED": "v4 v2 v1",
    "metrics.r2 >= 0.3": "v4 v3",
    "metrics.rmse > 0": "",
    "tags.env = prod": "v1",
    "tags.env != prod": "v4 v3 v2",
    "tags:env": "v2 v1",
    "tags.env:es": "v2",
    "tags.env = test*": "v2",
    "tags.env = TEST*": "",
    'tags.env = "test%"': "",
    'tags.env = "tes?_*"': "",
    "alias = blue": "v2",
    "alias:bl*": "v2",
    "owner = users/bob": "v4 v2",
    "training = trainings/vol5-2": "v2",
    "dataset = datasets/d1": "v4 v3 v2 v1",
    "feature_view_version = bars@2": "",
    "create_time < 2026-01-01T00:00:00Z OR number = 2": "v2",
    "name = models/vol5/versions/3": "v3",
    "target = LOG_REALIZED_VARIANCE AND horizon_bars = 5": "v4 v3 v2 v1",
    'owner = "\'; DROP TABLE fact; --"': "",
}


async def test_filters_find_what_they_ask_for(stocked: Any) -> None:
    assert {text: " ".join(await found(stocked, text)) for text in FOUND} == FOUND


ORDERED = {
    "": "r1 v1 v2 v3 v4",
    "name desc": "v4 v3 v2 v1 r1",
    "number": "r1 v1 v2 v3 v4",
    "create_time desc": "r1 v4 v3 v2 v1",
    "metrics.r2 desc": "v4 v3 v2 v1 r1",
    "metrics.r2": "v1 v2 v3 v4 r1",
}


async def test_every_order_pages_without_gap_or_repetition(stocked: Any) -> None:
    assert {order_by: await paged(stocked, order_by) for order_by in ORDERED} == ORDERED


async def paged(registry: Any, order_by: str) -> str:
    search = to_version_search(api.ListModelVersionsRequest(order_by=order_by), None)
    names, cursor = [], ""
    while True:
        page = await registry.use.search.search.versions(None, search, 2, cursor)
        names += [f"{one.name.model[0]}{one.name.number}" for one in page.items]
        if not (cursor := page.next_cursor):
            return " ".join(names)


MODELS = {
    ("", ""): "ret5 vol5",
    ("", "version_count desc"): "vol5 ret5",
    ("tags.team = vol", ""): "vol5",
    ("tags:env", ""): "",
    ("alias = blue", ""): "vol5",
    ("version_count >= 4", ""): "vol5",
    ('description:"%_*["', ""): "vol5",
    ("name = models/re*", ""): "ret5",
}


async def test_models_are_found(stocked: Any) -> None:
    assert {case: await found_models(stocked, *case) for case in MODELS} == MODELS


async def found_models(registry: Any, text: str, order_by: str) -> str:
    search = to_model_search(api.ListModelsRequest(filter=text, order_by=order_by))
    names, cursor = [], ""
    while True:
        page = await registry.use.search.search.models(search, 1, cursor)
        names += [model.model for model in page.items]
        if not (cursor := page.next_cursor):
            return " ".join(names)


async def test_a_page_of_another_filter_is_not_continued(stocked: Any) -> None:
    one, other = (
        to_version_search(api.ListModelVersionsRequest(filter=it), None) for it in ("", "number > 0")
    )
    page = await stocked.use.search.search.versions(None, one, 2, "")

    for cursor in (page.next_cursor, "[]", "[[[", '["x", 1]', "null"):
        with pytest.raises(InvalidFieldError):
            await stocked.use.search.search.versions(None, other, 2, cursor)


async def test_a_version_that_appears_between_pages_moves_no_other(stocked: Any, attempts: Any) -> None:
    search = to_version_search(api.ListModelVersionsRequest(order_by="metrics.r2 desc"), "vol5")
    first = await stocked.use.search.search.versions("vol5", search, 2, "")
    await deliver(stocked, attempts, 9)
    rest = await stocked.use.search.search.versions("vol5", search, 9, first.next_cursor)

    assert [one.name.number for one in (*first.items, *rest.items)] == [4, 3, 2, 1]


async def test_lineage_leads_from_a_version_to_all_it_was_made_of_and_back(
    registry: Any, attempts: Any
) -> None:
    first = await deliver(registry, attempts, 1)
    second = await deliver(registry, attempts, 2, parent=str(first))
    await registry.use.move_alias(MoveAlias(AliasName("vol5", "blue"), second, None, ADA, ""))

    graph = await registry.use.search.trace_lineage(second, 10)

    nodes = {(node.kind, node.name) for node in graph.nodes}
    edges = {(graph.nodes[source].name, graph.nodes[end].name) for source, end in graph.edges}
    assert graph.nodes[0].name == str(second)
    assert {
        (NodeKind.ATTEMPT, "trainings/vol5-2/attempts/1"),
        (NodeKind.STUDY, "studies/vol5"),
        (NodeKind.DATASET, "datasets/d1"),
        (NodeKind.DATASET_SHA256, "d" * 64),
        (NodeKind.FEATURE_VIEW_VERSION, "bars@1"),
        (NodeKind.CODE_DIGEST, "c" * 64),
        (NodeKind.ENVIRONMENT_DIGEST, "e" * 64),
        (NodeKind.COMPUTATION_KEY, "k" * 64),
        (NodeKind.ALIAS, "models/vol5/aliases/blue"),
        (NodeKind.VERSION, str(first)),
    } <= nodes
    assert {
        (str(second), "trainings/vol5-2/attempts/1"),
        ("trainings/vol5-2/attempts/1", "trainings/vol5-2"),
        (str(second), str(first)),
        ("models/vol5/aliases/blue", str(second)),
    } <= edges
    assert len(graph.nodes) == len(nodes)


async def test_lineage_goes_as_far_as_it_is_asked_to(registry: Any, attempts: Any) -> None:
    names = [await deliver(registry, attempts, 1)]
    for number in range(2, 6):
        names.append(await deliver(registry, attempts, number, parent=str(names[-1])))

    graph = await registry.use.search.trace_lineage(names[2], 1)

    versions = [node.name for node in graph.nodes if node.kind is NodeKind.VERSION]
    assert sorted(versions) == [str(name) for name in names[0:4]]
    assert graph.truncated
    with pytest.raises(VersionNotFoundError):
        await registry.use.search.trace_lineage(VersionName("vol5", 9), 1)


async def descendants(registry: Any, kind: NodeKind, name: str) -> list[tuple[str, int]]:
    listed: list[tuple[str, int]] = []
    cursor = ""
    while True:
        page = await registry.use.search.lineage.descendants(Origin(kind, name), 2, cursor)
        listed += [(one.version.rpartition("/")[2], one.generation) for one in page.items]
        if not (cursor := page.next_cursor):
            return listed


async def test_what_was_made_of_something_is_listed_directly_and_through_versions(
    registry: Any, attempts: Any
) -> None:
    first = await deliver(registry, attempts, 1, view="vol@3")
    second = await deliver(registry, attempts, 2, parent=str(first))
    await deliver(registry, attempts, 3, parent=str(second), view="vol@3")
    await deliver(registry, attempts, 4)

    assert await descendants(registry, NodeKind.FEATURE_VIEW_VERSION, "vol@3") == [
        ("1", 1),
        ("2", 2),
        ("3", 1),
    ]
    assert await descendants(registry, NodeKind.VERSION, str(first)) == [("2", 1), ("3", 2)]
    assert await descendants(registry, NodeKind.TRAINING, "trainings/vol5-4") == [("4", 1)]
    assert await descendants(registry, NodeKind.CODE_DIGEST, "c" * 64) == [(str(n), 1) for n in range(1, 5)]
    assert await descendants(registry, NodeKind.DATASET, "datasets/none") == []


async def test_parents_in_a_circle_end(registry: Any, attempts: Any) -> None:
    first = await deliver(registry, attempts, 1, parent="models/vol5/versions/2")
    second = await deliver(registry, attempts, 2, parent=str(first))

    graph = await registry.use.search.trace_lineage(second, 100)
    listed = await descendants(registry, NodeKind.VERSION, str(first))

    assert len([node for node in graph.nodes if node.kind is NodeKind.VERSION]) == 2
    assert listed == [("1", 2), ("2", 1)]


async def test_a_card_says_what_is_known_and_what_is_not(registry: Any, attempts: Any) -> None:
    name = await deliver(registry, attempts, 1)
    await registry.use.move_alias(MoveAlias(AliasName("vol5", "blue"), name, None, ADA, ""))
    details = Details("For *five* days.", {"limitations": "Never for | <b>crashes</b>."})
    change = DetailsChange(details, ("description", "tags"))
    await registry.use.governance.update_version(UpdateVersion(name, change, ""))

    card = to_card(await registry.use.search.describe_version(name)).markdown

    for line in (
        "# models/vol5/versions/1",
        "For *five* days.",
        "| aliases | blue |",
        "| r2 | 0.1 | 0.0804 to 0.1196 |",
        "| a\\|b | float64 |",
        "| feature views | bars@1 |",
        "| lineage\\_complete | yes | nothing is missing |",
        "- How it was tested is unknown.",
        "- Never for \\| \\<b\\>crashes\\</b\\>.",
    ):
        assert line in card.splitlines()
