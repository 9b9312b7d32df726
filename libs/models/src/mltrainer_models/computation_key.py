"""The key under which the result of a training can be reused, and why two keys differ."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mltrainer_models.canonical import canonical_digest

_MICROSECOND = timedelta(microseconds=1)
_ABSENT = "(absent)"


@dataclass(frozen=True, slots=True)
class ViewInputs:
    """One feature view: what it is and which revision of its data is read."""

    name: str
    definition_digest: str
    data_revision: str


@dataclass(frozen=True, slots=True)
class EvaluationInputs:
    """How the walk-forward evaluation cuts time, and which combinatorial folds there are beside it."""

    first_test_day: str
    refit_interval: str
    embargo_bars: int
    combinatorial: str = ""


@dataclass(frozen=True, slots=True)
class SearchInputs:
    """What the search may try."""

    catalogue_ids: tuple[str, ...]
    max_trials: int
    seed: int


@dataclass(frozen=True, slots=True)
class ComputationInputs:
    """Everything that decides the result of a training, and nothing else.

    Whoever asks, why, when, at which priority or on which node stays out. A budget is in: it can end a
    search early.
    """

    code_digest: str
    environment_digest: str
    catalogue_digest: str
    views: tuple[ViewInputs, ...]
    target_kind: str
    horizon_bars: int
    symbols: tuple[str, ...]
    as_of: datetime
    evaluation: EvaluationInputs
    search: SearchInputs
    budget: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """One input that two computations do not share."""

    field: str
    first: str
    second: str


def floor_to_closed_bar(
    as_of: datetime, bar_interval: timedelta, bar_close_offset: timedelta = timedelta()
) -> datetime:
    """Moves a knowledge time back to the last bar closed at or before it.

    Bars close every `bar_interval` from `bar_close_offset` after midnight UTC: daily bars of a 21:00 close
    have an offset of 21 hours.

    Raises:
        ValueError: the time has no zone, or the interval is not positive.
    """
    if as_of.tzinfo is None:
        raise ValueError("as_of must have a time zone")
    if bar_interval <= timedelta():
        raise ValueError("a bar interval is positive")
    anchor = datetime(1970, 1, 1, tzinfo=UTC) + bar_close_offset
    return as_of.astimezone(UTC) - (as_of - anchor) % bar_interval


def computation_key(inputs: ComputationInputs) -> str:
    """Hashes the inputs; symbols, views and catalogue ids count as sets."""
    return canonical_digest(computation_document(inputs))


def explain_difference(first: ComputationInputs, second: ComputationInputs) -> tuple[FieldDifference, ...]:
    """Lists every input in which two computations differ, by its path; nothing when their keys are equal."""
    return explain_documents(computation_document(first), computation_document(second))


def explain_documents(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[FieldDifference, ...]:
    """Lists every input in which two documents of `computation_document` differ."""
    ours, theirs = _flatten(first), _flatten(second)
    return tuple(
        FieldDifference(path, ours.get(path, _ABSENT), theirs.get(path, _ABSENT))
        for path in sorted(ours.keys() | theirs.keys())
        if ours.get(path) != theirs.get(path)
    )


def computation_document(inputs: ComputationInputs) -> dict[str, Any]:
    """Spells what a key hashes."""
    evaluation, search = inputs.evaluation, inputs.search
    return {
        "key_version": 1,
        "code_digest": inputs.code_digest,
        "environment_digest": inputs.environment_digest,
        "catalogue_digest": inputs.catalogue_digest,
        "views": {
            view.name: {"definition_digest": view.definition_digest, "data_revision": view.data_revision}
            for view in inputs.views
        },
        "target": {"kind": inputs.target_kind, "horizon_bars": inputs.horizon_bars},
        "symbols": dict.fromkeys(sorted(inputs.symbols), "included"),
        "as_of_us": (inputs.as_of - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND,
        "evaluation": {
            "first_test_day": evaluation.first_test_day,
            "refit_interval": evaluation.refit_interval,
            "embargo_bars": evaluation.embargo_bars,
            # Absent where none was asked for: keys of before stay what they were.
            **({"combinatorial": evaluation.combinatorial} if evaluation.combinatorial else {}),
        },
        "search": {
            "catalogue_ids": dict.fromkeys(sorted(search.catalogue_ids), "included"),
            "max_trials": search.max_trials,
            "seed": search.seed,
        },
        "budget": {name: float(amount) for name, amount in inputs.budget.items()},
    }


def _flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in document.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= _flatten(value, f"{path}.")
        else:
            flat[path] = str(value)
    return flat
