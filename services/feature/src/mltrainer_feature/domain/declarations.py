"""Whether declared views and services can be what they are declared to be."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from mltrainer_features import (
    ON_DEMAND_VIEWS,
    STORED_REFERENCES,
    VIEWS,
    FeatureError,
    OnDemandView,
    parse_expression,
)

from mltrainer_feature.domain.definitions import Content, FeatureList
from mltrainer_feature.domain.errors import InvalidDefinitionsError, Violation

MAX_FEATURES = 500
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_NAME_RULE = "begin with a lower-case letter, go on with such, digits and _, 63 at most"
_RELEASED = VIEWS.keys() | ON_DEMAND_VIEWS.keys()


def check_declared(declared: Sequence[Content], join_keys: Iterable[str]) -> None:
    """Checks each declaration by itself; what services read is checked where all features are known.

    Raises:
        InvalidDefinitionsError: Some cannot be, each with all its violations.
    """
    keys = frozenset(join_keys)
    violations = [
        Violation(f"{content.name}.{violation.field}".rstrip("."), violation.description)
        for content in declared
        for violation in (
            _view_violations(content, keys)
            if isinstance(content, OnDemandView)
            else _service_violations(content)
        )
    ]
    if violations:
        raise InvalidDefinitionsError(violations)


def _view_violations(view: OnDemandView, join_keys: frozenset[str]) -> Iterator[Violation]:
    yield from _name_violations("", view.name)
    if view.name in _RELEASED:
        yield Violation("", "is a view of this release: choose another name")
    fields = [field.name for field in view.request_fields]
    yield from _list_violations("request_fields", fields)
    yield from _list_violations("features", [feature.name for feature in view.features])
    if not view.features:
        yield Violation("features", "declare at least one")
    for name in fields:
        yield from _name_violations(f"request_fields.{name}", name)
        if name in STORED_REFERENCES or name in join_keys:
            taken = "a stored feature" if name in STORED_REFERENCES else "an entity"
            yield Violation(f"request_fields.{name}", f"is the name of {taken}: choose another")
    for feature in view.features:
        yield from _name_violations(f"features.{feature.name}", feature.name)
        try:
            names = parse_expression(feature.expression).names
        except FeatureError as error:
            yield Violation(f"features.{feature.name}.expression", str(error))
            continue
        if not any(name in STORED_REFERENCES for name in names):
            yield Violation(f"features.{feature.name}.expression", "reads no stored feature")
        for name in names:
            if name not in STORED_REFERENCES and name not in fields:
                problem = f"{name} is neither a stored feature nor a request field of this view"
                yield Violation(f"features.{feature.name}.expression", problem)


def _service_violations(service: FeatureList) -> Iterator[Violation]:
    yield from _name_violations("", service.name)
    yield from _list_violations("features", service.features)
    if not service.features:
        yield Violation("features", "name at least one")


def _list_violations(where: str, names: Sequence[str]) -> Iterator[Violation]:
    for name, count in Counter(names).items():
        if count > 1:
            yield Violation(f"{where}.{name}", "is named twice")
    if len(names) > MAX_FEATURES:
        yield Violation(where, f"give at most {MAX_FEATURES}")


def _name_violations(where: str, name: str) -> Iterator[Violation]:
    if _NAME.fullmatch(name) is None:
        yield Violation(where, _NAME_RULE)
