"""Filters: what they mean, and what is said about those that mean nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_registry.domain.errors import InvalidFieldError, InvalidFilterError
from mltrainer_registry.domain.filters import (
    VERSION_FIELDS,
    VERSION_ORDERS,
    AllOf,
    AnyOf,
    Comparison,
    Expression,
    Not,
    Operator,
    Order,
)
from mltrainer_registry.wire.filters import parse_filter, to_search


def parse(text: str) -> Expression | None:
    return parse_filter(text, VERSION_FIELDS)


def shown(expression: Expression | None) -> str:
    match expression:
        case Comparison(path=path, operator=operator, text=text):
            return f"{'.'.join(path)}{operator}{text}"
        case AllOf(parts=parts):
            return f"({' & '.join(map(shown, parts))})"
        case AnyOf(parts=parts):
            return f"({' | '.join(map(shown, parts))})"
        case Not(part=part):
            return f"!{shown(part)}"
    return ""


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        pytest.param("", "", id="everything"),
        pytest.param(" \n ", "", id="blank"),
        pytest.param("verdict = EDGE", "verdict=EDGE", id="one condition"),
        pytest.param("number>=3", "number>=3", id="no blanks"),
        pytest.param("metrics.r2 > -0.5", "metrics.r2>-0.5", id="negative number"),
        pytest.param("metrics.r2 > 1e-3", "metrics.r2>1e-3", id="exponent"),
        pytest.param(
            "number=1 OR number=2 AND number=3", "((number=1 | number=2) & number=3)", id="OR first"
        ),
        pytest.param(
            "number=1 OR (number=2 AND number=3)", "(number=1 | (number=2 & number=3))", id="nested"
        ),
        pytest.param("NOT state = ARCHIVED", "!state=ARCHIVED", id="NOT"),
        pytest.param("-state = ARCHIVED", "!state=ARCHIVED", id="minus"),
        pytest.param("NOT NOT number=1", "!!number=1", id="twice"),
        pytest.param('tags.env = "a \\"b\\" c"', 'tags.env=a "b" c', id="escaped quotes"),
        pytest.param("tags.env = 'it'", "tags.env=it", id="single quotes"),
        pytest.param('tags."a/b" = x', "tags.a/b=x", id="quoted key"),
        pytest.param("tags:env", "tags:env", id="has a key"),
        pytest.param("tags.team-a:x", "tags.team-a:x", id="key with a hyphen"),
        pytest.param("create_time > 2026-01-31T00:00:00Z", "create_time>2026-01-31T00:00:00Z", id="time"),
        pytest.param("feature_view_version = bars@1", "feature_view_version=bars@1", id="at"),
        pytest.param("name = models/vol5/versions/1", "name=models/vol5/versions/1", id="slashes"),
        pytest.param('description = "AND OR NOT"', "description=AND OR NOT", id="keywords in a text"),
    ],
)
def test_a_filter_means(text: str, meaning: str) -> None:
    assert shown(parse(text)) == meaning


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        pytest.param("verdict", 8, "ends where it needs", id="no comparison"),
        pytest.param("verdict =", 10, "ends where it needs a text in quotes or a value", id="no value"),
        pytest.param("= 3", 1, "the name of a field", id="no field"),
        pytest.param("number = 1 number = 2", 12, "AND or OR or the end", id="nothing between"),
        pytest.param("number = 1 AND", 15, "ends where", id="nothing after AND"),
        pytest.param("(number = 1", 12, "ends where", id="open parenthesis"),
        pytest.param("number = 1)", 11, "has ')'", id="closed parenthesis"),
        pytest.param("number = 1; DROP TABLE model", 11, "has ';'", id="SQL"),
        pytest.param('owner = "ada', 9, "has '\"'", id="open quotes"),
        pytest.param("number == 1", 9, "has '='", id="two equal signs"),
        pytest.param("colour = red", 1, "none of name, model, number", id="unknown field"),
        pytest.param("number = 1 AND colour = red", 16, "'colour'", id="unknown field later"),
        pytest.param("number = many", 1, "not a number", id="no number"),
        pytest.param("metrics.r2 = nan", 1, "not a number", id="not a number"),
        pytest.param("create_time > yesterday", 1, "not a time", id="no time"),
        pytest.param("state = SLEEPING", 1, "ACTIVE or ARCHIVED", id="no state"),
        pytest.param("verdict > EDGE", 1, "only != = make sense", id="no order of verdicts"),
        pytest.param("metrics > 1", 1, "metrics.{name}", id="no name of a metric"),
        pytest.param("tags = x", 1, "tags.{key}", id="no key"),
        pytest.param("owner.name = x", 1, "has no fields", id="no fields"),
        pytest.param("number : 1", 1, "compares number by :", id="has of a number"),
    ],
)
def test_a_filter_that_means_nothing_is_refused_with_its_place(text: str, position: int, words: str) -> None:
    with pytest.raises(InvalidFilterError) as refused:
        parse(text)

    assert refused.value.position == position
    assert words in refused.value.description


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("owner = " + "x" * 4_000, id="length"),
        pytest.param("(" * 60 + "number = 1" + ")" * 60, id="depth"),
        pytest.param("NOT " * 60 + "number = 1", id="negations"),
        pytest.param(" OR ".join(["number = 1"] * 51), id="conditions"),
    ],
)
def test_a_filter_has_its_limits(text: str) -> None:
    with pytest.raises(InvalidFilterError):
        parse(text)


@given(st.text(max_size=200))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except InvalidFilterError as refused:
        assert 1 <= refused.position <= len(text) + 1


WORDS = [
    "number",
    "owner",
    "tags.env",
    "=",
    "!=",
    ":",
    "<",
    "(",
    ")",
    "AND",
    "OR",
    "NOT",
    "-",
    "1",
    "x*",
    '"q"',
]


@given(st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join))
def test_whatever_is_put_together_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except InvalidFilterError as refused:
        assert 1 <= refused.position <= len(text) + 1


@pytest.mark.parametrize(
    ("order_by", "order"),
    [
        pytest.param("", Order("number", descending=True), id="default"),
        pytest.param("create_time desc", Order("create_time", descending=True), id="falling"),
        pytest.param("name", Order("name"), id="rising"),
        pytest.param("metrics.r2 desc", Order("metrics", "r2", descending=True), id="metric"),
    ],
)
def test_an_order_means(order_by: str, order: Order) -> None:
    found = to_search(
        "",
        order_by,
        fields=VERSION_FIELDS,
        orders=VERSION_ORDERS,
        default=Order("number", descending=True),
    )

    assert found.order == order


@pytest.mark.parametrize(
    "order_by", ["verdict", "metrics", "name.x", "name up", "name, number", "x" * 9_999, "metrics.R2;"]
)
def test_other_orders_are_refused(order_by: str) -> None:
    with pytest.raises(InvalidFieldError):
        to_search("", order_by, fields=VERSION_FIELDS, orders=VERSION_ORDERS, default=Order("number"))


def test_operators_are_those_of_the_grammar() -> None:
    for operator in set(Operator) - {Operator.HAS}:
        assert shown(parse(f"number {operator} 1")) == f"number{operator}1"
