"""Finds everything that is wrong with what users and peers say."""

import math
import re
from collections.abc import Iterator

from mltrainer_experiment.domain.errors import InvalidDefinitionError, InvalidFieldError
from mltrainer_experiment.domain.experiment import Definition, Variant

_ID = r"[a-z0-9](?:[a-z0-9\-_.]{0,61}[a-z0-9])?"
_RESOURCE_ID = re.compile(_ID)
_MODEL = re.compile(rf"models/{_ID}")
_EXPERIMENT = re.compile(rf"experiments/(?P<id>{_ID})")
_METRIC = re.compile(r"[a-z][a-z0-9_]{0,62}")
_ID_RULE = "must be 1 to 63 lower-case letters, digits, '-', '_' or '.', letter or digit first and last"
_LONGEST_TEXT = 256
_SMALLEST_SHARE = 1e-6
_LARGEST_ALPHA = 0.5
_LARGEST_VALUE = 1e100  # sums of squares stay finite

Violation = tuple[str, str]


def check_definition(experiment_id: str, definition: Definition) -> None:
    """Accepts a sound definition.

    Raises:
        InvalidDefinitionError: Names every field that is wrong.
    """
    violations = tuple(_violations(experiment_id, definition))
    if violations:
        raise InvalidDefinitionError(violations)


def parse_experiment(name: str, field: str = "name") -> str:
    """Returns the id within `experiments/{experiment}`."""
    match = _EXPERIMENT.fullmatch(name)
    if match is None:
        raise InvalidFieldError(field, f"{name[:80]!r} is not of the form experiments/{{experiment}}")
    return match["id"]


def check_text(text: str, field: str) -> str:
    """Returns a text that a unit or an id may be."""
    if not text or len(text) > _LONGEST_TEXT or not text.isprintable():
        raise InvalidFieldError(field, f"must be 1 to {_LONGEST_TEXT} printable characters")
    return text


def check_value(value: float, field: str) -> float:
    """Returns a value whose square can be summed."""
    if not abs(value) <= _LARGEST_VALUE:
        raise InvalidFieldError(field, f"{value} is not a number of at most {_LARGEST_VALUE:g}")
    return value


def _violations(experiment_id: str, definition: Definition) -> Iterator[Violation]:
    if not _RESOURCE_ID.fullmatch(experiment_id):
        yield "experiment_id", _ID_RULE
    if not _MODEL.fullmatch(definition.model):
        yield "experiment.model", "must be of the form models/{model}"
    if not _METRIC.fullmatch(definition.metric):
        yield "experiment.metric", "must be a metric such as squared_error"
    if not 0.0 < definition.traffic <= 1.0:
        yield "experiment.traffic", "must lie above 0 and not above 1"
    if not 0.0 < definition.alpha < _LARGEST_ALPHA:
        yield "experiment.alpha", f"must lie between 0 and {_LARGEST_ALPHA}"
    if not 0.0 <= definition.max_loss < math.inf:
        yield "experiment.max_loss", "must be 0 or a finite number above it"
    yield from _variant_violations(definition.variants)


def _variant_violations(variants: tuple[Variant, ...]) -> Iterator[Violation]:
    if len(variants) != 2:
        yield "experiment.variants", "must be two arms, the control first"
    if len({arm.variant for arm in variants}) != len(variants):
        yield "experiment.variants", "must have different ids"
    total = sum(arm.weight for arm in variants)
    for index, arm in enumerate(variants):
        path = f"experiment.variants[{index}]"
        if not _RESOURCE_ID.fullmatch(arm.variant):
            yield f"{path}.variant", _ID_RULE
        if not _RESOURCE_ID.fullmatch(arm.alias):
            yield f"{path}.alias", _ID_RULE
        if not (0.0 < arm.weight < math.inf and arm.weight >= _SMALLEST_SHARE * total):
            yield f"{path}.weight", "must be finite and above 0, at least a millionth of the sum"
