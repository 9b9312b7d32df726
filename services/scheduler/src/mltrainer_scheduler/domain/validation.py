"""Finds everything that is wrong with a request, field by field."""

import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from mltrainer_scheduler.domain.specification import (
    DEFAULT_TEST_GROUPS,
    Budget,
    Evaluation,
    FieldViolation,
    Resources,
    Search,
    Target,
    TargetKind,
    TrainingSpec,
)

RESOURCE_ID = re.compile(r"[a-z0-9](?:[a-z0-9\-_.]{0,61}[a-z0-9])?")
VIEW_REFERENCE = re.compile(r"(?P<view>[A-Za-z0-9_\-]{1,63})(?:@(?P<version>[1-9][0-9]{0,8}))?")
_SYMBOL = re.compile(r"[A-Za-z0-9.\-_^=]{1,32}")
_MODEL = re.compile(r"[A-Za-z0-9_\-.]{1,63}")
_MAX_REQUEST_ID = 128
_MAX_TEXT = 256
_MAX_SYMBOLS = 2_000
_MAX_ITEMS = 64
_MAX_BARS = 100_000
_MAX_TRIALS = 1_000_000
_MAX_AMOUNT = 1e12
_MAX_WORKERS = 10_000
_MAX_PRIORITY = 1_000
_MAX_SHOWN = 64
_FEWEST_GROUPS, _MOST_GROUPS, _MOST_COMBINATIONS = 3, 16, 120
_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
_MAX_REPORTED_PER_LIST = 20
_ID_RULE = "1 to 63 lower-case letters, digits, '-', '_' or '.', beginning and ending with a letter or digit"

Violations = Iterator[FieldViolation]


def validate(
    request_id: str, spec: TrainingSpec, market_time: datetime, wall_time: datetime
) -> tuple[FieldViolation, ...]:
    """Lists every wrong field; nothing when the request can be carried out.

    Whether models and views exist is judged by `catalogue`, where their tables are known.
    """
    return (
        *_request_id(request_id),
        *_study(spec.study),
        *_target(spec.target),
        *_items(
            "symbols", spec.symbols, _SYMBOL, "letters, digits and `. - _ ^ =`, at most 32", _MAX_SYMBOLS
        ),
        *_items(
            "feature_views",
            spec.feature_views,
            VIEW_REFERENCE,
            "`{feature_view}` or `{feature_view}@{version}`",
        ),
        *_as_of(spec.as_of, market_time),
        *_evaluation(spec.evaluation, spec.as_of),
        *_search(spec.search),
        *_budget(spec.budget, wall_time),
        *_resources(spec.resources),
        *_addressing(spec),
    )


def _request_id(value: str) -> Violations:
    if not 1 <= len(value) <= _MAX_REQUEST_ID or not value.isprintable():
        yield FieldViolation("request_id", f"must have 1 to {_MAX_REQUEST_ID} printable characters")


def _study(value: str) -> Violations:
    prefix, _, study = value.partition("/")
    if prefix != "studies" or not RESOURCE_ID.fullmatch(study):
        yield FieldViolation("study", f"{_shown(value)} is not `studies/{{study}}` with {_ID_RULE}")


def _target(target: Target | None) -> Violations:
    if target is None:
        yield FieldViolation("target", "is required: say what to predict and how far ahead")
        return
    if target.kind is TargetKind.UNSPECIFIED:
        known = ", ".join(kind for kind in TargetKind if kind is not TargetKind.UNSPECIFIED)
        yield FieldViolation("target.kind", f"is required: one of {known}")
    if not 1 <= target.horizon_bars <= _MAX_BARS:
        yield FieldViolation(
            "target.horizon_bars", f"{target.horizon_bars} is not between 1 and {_MAX_BARS} bars ahead"
        )


def _items(
    path: str, values: Sequence[str], pattern: re.Pattern[str], rule: str, most: int = _MAX_ITEMS
) -> Violations:
    if not values:
        yield FieldViolation(path, "must name at least one")
        return
    if len(values) > most:
        yield FieldViolation(path, f"has {len(values)} entries; at most {most} are allowed")
        return
    seen: set[str] = set()
    reported = 0
    for index, value in enumerate(values):
        problem = None
        if not pattern.fullmatch(value):
            problem = f"{_shown(value)} is not allowed: use {rule}"
        elif value in seen:
            problem = f"{_shown(value)} is named twice"
        seen.add(value)
        if problem and reported < _MAX_REPORTED_PER_LIST:
            reported += 1
            yield FieldViolation(f"{path}[{index}]", problem)


def _as_of(as_of: datetime | None, market_time: datetime) -> Violations:
    if as_of is None:
        yield FieldViolation("as_of", "is required: a valid time up to which knowledge may be used")
    elif as_of < _EARLIEST:
        yield FieldViolation("as_of", f"{as_of.isoformat()} lies before {_EARLIEST.isoformat()}")
    elif as_of > market_time:
        now = market_time.isoformat()
        yield FieldViolation("as_of", f"{as_of.isoformat()} lies in the future; the market is at {now}")


def _evaluation(evaluation: Evaluation | None, as_of: datetime | None) -> Violations:
    if evaluation is None:
        yield FieldViolation("evaluation", "is required: say when the out-of-sample period begins")
        return
    first = evaluation.first_test_time
    if first is None:
        yield FieldViolation("evaluation.first_test_time", "is required: a valid time before `as_of`")
    elif as_of is not None and first >= as_of:
        yield FieldViolation(
            "evaluation.first_test_time", f"{first.isoformat()} must lie before `as_of`, {as_of.isoformat()}"
        )
    yield from _between("evaluation.refit_interval_bars", evaluation.refit_interval_bars, _MAX_BARS)
    yield from _between("evaluation.embargo_bars", evaluation.embargo_bars, _MAX_BARS)
    yield from _combinatorial(evaluation.combinatorial_groups, evaluation.combinatorial_test_groups)


def _combinatorial(groups: int, asked: int) -> Violations:
    tested = asked or DEFAULT_TEST_GROUPS
    if not groups:
        if asked:
            problem = f"{asked} needs `evaluation.combinatorial_groups` above zero"
            yield FieldViolation("evaluation.combinatorial_test_groups", problem)
    elif not _FEWEST_GROUPS <= groups <= _MOST_GROUPS:
        problem = f"{groups} is not between {_FEWEST_GROUPS} and {_MOST_GROUPS}; 0 asks for none"
        yield FieldViolation("evaluation.combinatorial_groups", problem)
    elif not 1 <= tested < groups:
        problem = f"{tested} of {groups} is not between 1 and {groups - 1}: one is left to train on"
        yield FieldViolation("evaluation.combinatorial_test_groups", problem)
    elif math.comb(groups, tested) > _MOST_COMBINATIONS:
        folds = math.comb(groups, tested)
        problem = f"{tested} of {groups} groups make {folds} folds; at most {_MOST_COMBINATIONS} are allowed"
        yield FieldViolation("evaluation.combinatorial_test_groups", problem)


def _search(search: Search | None) -> Violations:
    if search is None:
        yield FieldViolation("search", "is required: name at least one model")
        return
    yield from _items("search.models", search.models, _MODEL, "a catalogue id or family such as `ridge`")
    yield from _between("search.max_trials", search.max_trials, _MAX_TRIALS)


def _budget(budget: Budget | None, wall_time: datetime) -> Violations:
    if budget is None:
        yield FieldViolation("budget", "is required: set at least one limit above zero")
        return
    violations = [
        *_between("budget.cpu_seconds", budget.cpu_seconds, _MAX_AMOUNT),
        *_between("budget.cost_usd", budget.cost_usd, _MAX_AMOUNT),
    ]
    if budget.deadline_time is not None and budget.deadline_time <= wall_time:
        violations.append(
            FieldViolation("budget.deadline_time", f"{budget.deadline_time.isoformat()} has already passed")
        )
    yield from violations
    if not violations and budget == Budget():
        yield FieldViolation("budget", "allows nothing: set at least one limit above zero")


def _resources(resources: Resources) -> Violations:
    yield from _between("resources.cpus", resources.cpus, _MAX_AMOUNT)
    yield from _between("resources.memory_bytes", resources.memory_bytes, 1 << 60)
    yield from _between("resources.gpus", resources.gpus, _MAX_AMOUNT)
    yield from _between("resources.gang_workers", resources.gang_workers, _MAX_WORKERS)
    yield from _between("resources.checkpoint_interval_s", resources.checkpoint_interval_s, _MAX_AMOUNT)
    if len(resources.gpu_type) > _MAX_TEXT or not resources.gpu_type.isprintable():
        yield FieldViolation("resources.gpu_type", f"must have at most {_MAX_TEXT} printable characters")
    elif resources.gpu_type and not resources.gpus:
        yield FieldViolation(
            "resources.gpu_type", f"{_shown(resources.gpu_type)} needs `resources.gpus` above zero"
        )


def _addressing(spec: TrainingSpec) -> Violations:
    for path, value in (("queue", spec.queue), ("propose_alias", spec.propose_alias)):
        if value and not RESOURCE_ID.fullmatch(value):
            yield FieldViolation(path, f"{_shown(value)} is not allowed: use {_ID_RULE}")
    if abs(spec.priority) > _MAX_PRIORITY:
        yield FieldViolation(
            "priority", f"{spec.priority} is not between -{_MAX_PRIORITY} and {_MAX_PRIORITY}"
        )
    if len(spec.owner) > _MAX_TEXT or not spec.owner.isprintable():
        yield FieldViolation("owner", f"must have at most {_MAX_TEXT} printable characters")
    if len(spec.labels) > _MAX_ITEMS:
        yield FieldViolation("labels", f"has {len(spec.labels)} entries; at most {_MAX_ITEMS} are allowed")
    elif any(not 1 <= len(key) <= _MAX_TEXT or len(text) > _MAX_TEXT for key, text in spec.labels.items()):
        yield FieldViolation("labels", f"keys need 1 to {_MAX_TEXT} characters, values at most {_MAX_TEXT}")


def _between(path: str, value: float, most: float) -> Violations:
    if not math.isfinite(value) or not 0 <= value <= most:
        yield FieldViolation(path, f"{value} is not between 0 and {most:g}")


def _shown(value: str) -> str:
    return repr(value if len(value) <= _MAX_SHOWN else value[:_MAX_SHOWN] + "…")
