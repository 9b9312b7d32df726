from collections.abc import Callable

import pytest
from mltrainer_registry.domain.errors import InvalidFieldError
from mltrainer_registry.domain.names import (
    check_training,
    model_of_study,
    parse_alias,
    parse_model,
    parse_version,
)


@pytest.mark.parametrize("name", ["models/vol5/versions/1", "models/a.b-c_d/versions/120"])
def test_a_version_name_survives_reading_and_writing(name: str) -> None:
    assert str(parse_version(name)) == name


def test_an_alias_name_survives_reading_and_writing() -> None:
    assert str(parse_alias("models/vol5/aliases/champion")) == "models/vol5/aliases/champion"


@pytest.mark.parametrize(
    ("parse", "name"),
    [
        (parse_version, "models/vol5/versions/0"),
        (parse_version, "models/vol5/versions/01"),
        (parse_version, "models/vol5/versions/-1"),
        (parse_version, "models/vol5/versions/1\n"),
        (parse_version, "models/vol5/versions/9999999999"),
        (parse_version, "models/../versions/1"),
        (parse_alias, "models/vol5/aliases/"),
        (parse_alias, "models/vol5/aliases/Champion"),
        (parse_model, "vol5"),
        (parse_model, "models/" + "a" * 64),
        (check_training, "studies/t"),
        (model_of_study, "studies/a/b"),
    ],
)
def test_a_malformed_name_is_refused(parse: Callable[[str], object], name: str) -> None:
    with pytest.raises(InvalidFieldError):
        parse(name)
