"""On-demand views and feature services as they are declared: what applying them would change."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from mltrainer_features import OnDemandView

from mltrainer_feature.domain.errors import InvalidDefinitionsError, Violation
from mltrainer_feature.domain.views import ViewState

MAX_DEFINITIONS = 1_000


class DefinitionKind(StrEnum):
    """What a definition defines; stored views are this release's, and are kept here once removed."""

    ON_DEMAND_VIEW = "ON_DEMAND_VIEW"
    FEATURE_SERVICE = "FEATURE_SERVICE"
    STORED_VIEW = "STORED_VIEW"


@dataclass(frozen=True, slots=True)
class FeatureList:
    """A feature service: features that are read together, by reference, in the order of the answer."""

    name: str
    version: int
    description: str
    features: tuple[str, ...]


Content = OnDemandView | FeatureList


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition with its latest version; a removed one stays known, so that reads of it can be told.

    `revision` is that of all definitions when this one last changed; `content` of a stored view is None.
    """

    kind: DefinitionKind
    name: str
    version: int
    revision: int
    is_removed: bool
    content: Content | None


class Definitions:
    """Everything that was ever applied or removed."""

    def __init__(self, items: Iterable[Definition] = ()) -> None:
        self._items = {(item.kind, item.name): item for item in items}
        self.revision = max((item.revision for item in self._items.values()), default=0)

    def get(self, kind: DefinitionKind, name: str) -> Definition | None:
        """Finds a definition, removed or not."""
        return self._items.get((kind, name))

    def standing(self) -> list[Definition]:
        """Returns what is defined now: views first, by name."""
        found = [item for item in self._items.values() if not item.is_removed and item.content is not None]
        return sorted(found, key=lambda item: (item.kind is DefinitionKind.FEATURE_SERVICE, item.name))

    @property
    def views(self) -> tuple[OnDemandView, ...]:
        """Returns the on-demand views that are defined now, by name."""
        return tuple(item.content for item in self.standing() if isinstance(item.content, OnDemandView))

    @property
    def services(self) -> tuple[FeatureList, ...]:
        """Returns the feature services that are defined now, by name."""
        return tuple(item.content for item in self.standing() if isinstance(item.content, FeatureList))

    def removed(self, *kinds: DefinitionKind) -> frozenset[str]:
        """Names what was removed, and is not defined again."""
        return frozenset(
            name for (kind, name), item in self._items.items() if item.is_removed and kind in kinds
        )

    def changed(self, items: Sequence[Definition]) -> "Definitions":
        """Returns the definitions with some of them new or changed."""
        return Definitions({**self._items, **{(item.kind, item.name): item for item in items}}.values())


def follow_release(
    known: Definitions, before: Iterable[ViewState], after: Iterable[ViewState]
) -> list[Definition]:
    """Returns what changes when a release no longer has a stored view, or has it again."""
    standing = {view.name: view.version for view in after}
    gone = {view.name: view.version for view in before if view.name not in standing}
    back = known.removed(DefinitionKind.STORED_VIEW) & standing.keys()
    return [
        Definition(
            DefinitionKind.STORED_VIEW,
            name,
            {**standing, **gone}[name],
            known.revision + 1,
            is_removed=name in gone,
            content=None,
        )
        for name in sorted({*gone, *back})
    ]


class Action(StrEnum):
    """What becomes of a definition."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    REMOVE = "REMOVE"
    KEEP = "KEEP"


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a definition, and what differs: a line for each part that enters or leaves."""

    action: Action
    after: Definition
    differences: tuple[str, ...] = ()


def plan_changes(known: Definitions, declared: Sequence[Content], *, prune: bool) -> list[Change]:
    """Compares what is declared with what is defined: views first, by name.

    Raises:
        InvalidDefinitionsError: A name is declared twice, or there are too many definitions.
    """
    wanted: dict[tuple[DefinitionKind, str], Content] = {}
    for content in declared:
        if (key := (kind_of(content), content.name)) in wanted:
            raise InvalidDefinitionsError([Violation(content.name, "is declared twice")])
        wanted[key] = content
    revision = known.revision + 1
    changes = [_change(known.get(*key), content, revision) for key, content in wanted.items()]
    others = [item for item in known.standing() if (item.kind, item.name) not in wanted]
    changes += [_remove(item, revision) if prune else Change(Action.KEEP, item) for item in others]
    if sum(change.action is not Action.REMOVE for change in changes) > MAX_DEFINITIONS:
        raise InvalidDefinitionsError([Violation("", f"define at most {MAX_DEFINITIONS}")])
    return sorted(changes, key=lambda change: (_rank(change.after.kind), change.after.name))


def kind_of(content: Content) -> DefinitionKind:
    """Tells what a content defines."""
    is_view = isinstance(content, OnDemandView)
    return DefinitionKind.ON_DEMAND_VIEW if is_view else DefinitionKind.FEATURE_SERVICE


def _rank(kind: DefinitionKind) -> int:
    return [DefinitionKind.STORED_VIEW, DefinitionKind.ON_DEMAND_VIEW, DefinitionKind.FEATURE_SERVICE].index(
        kind
    )


def _change(before: Definition | None, content: Content, revision: int) -> Change:
    version = before.version if before is not None else 0
    same = replace(content, version=version)
    if before is not None and not before.is_removed and before.content == same:
        return Change(Action.KEEP, before)
    stands = before is not None and not before.is_removed
    parts = _parts(before.content) if before is not None and stands and before.content is not None else {}
    after = Definition(
        kind_of(content),
        content.name,
        version + 1,
        revision,
        is_removed=False,
        content=replace(content, version=version + 1),
    )
    return Change(Action.UPDATE if stands else Action.CREATE, after, _differences(parts, _parts(content)))


def _remove(item: Definition, revision: int) -> Change:
    parts = _parts(item.content) if item.content is not None else {}
    after = replace(item, is_removed=True, revision=revision)
    return Change(Action.REMOVE, after, _differences(parts, {}))


def _differences(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    lines = []
    for name in dict.fromkeys((*before, *after)):
        if before.get(name) != after.get(name):
            lines += [f"- {name}: {before[name]}"] if name in before else []
            lines += [f"+ {name}: {after[name]}"] if name in after else []
    return tuple(lines)


def _parts(content: Content) -> dict[str, str]:
    if isinstance(content, FeatureList):
        return {"description": content.description, "features": ", ".join(content.features)}
    parts = {"description": content.description}
    for field in content.request_fields:
        parts[f"request field {field.name}"] = f"{field.unit.value}; {field.description}"
    for feature in content.features:
        parts[f"feature {feature.name}"] = (
            f"{feature.expression}; {feature.unit.value}; {feature.description}"
        )
    names = [feature.name for feature in content.features]
    return parts | {"order of features": ", ".join(names)}
