"""Writes model cards: Markdown from facts."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from mltrainer.registry.v1 import resources_pb2 as resources
from mltrainer.trainer.v1 import resources_pb2 as trainer

from mltrainer_registry.application.describe_version import CardFacts
from mltrainer_registry.domain.versions import ModelVersion, Verdict, VersionState
from mltrainer_registry.wire.times import from_timestamp, time_text

if TYPE_CHECKING:
    from jinja2 import Template

_MARKUP = re.compile(r"[\\|*_`\[\]<>#~]")
_SPACE = re.compile(r"\s+")
_TWO_SIDED_95 = 1.96


@dataclass(frozen=True, slots=True)
class _MetricLine:
    name: str
    value: float
    interval: str


@dataclass(frozen=True, slots=True)
class _ModelLine:
    name: str
    chosen: str
    values: list[str]


def to_card(facts: CardFacts) -> resources.ModelCard:
    """Writes the card of a version."""
    version = facts.version
    report = trainer.AttemptResult.FromString(version.result.report)
    columns = [metric.name for metric in report.metrics]
    markdown = _template().render(
        name=str(version.name),
        version=version,
        lineage=version.lineage,
        report=report,
        aliases=facts.aliases,
        evaluations=facts.evaluations,
        metrics=[_metric_line(version, name, value) for name, value in version.result.metrics],
        columns=columns,
        leaderboard=[_model_line(row, columns) for row in report.leaderboard],
        tested=_tested(report),
        size_bytes=sum(file.size_bytes for file in version.manifest.files),
        limitations=list(_limitations(version, report)),
    )
    return resources.ModelCard(version=str(version.name), markdown=markdown)


def _metric_line(version: ModelVersion, name: str, value: float) -> _MetricLine:
    error = version.result.error(name)
    if error is None:
        return _MetricLine(name, value, "unknown")
    low, high = value - _TWO_SIDED_95 * error, value + _TWO_SIDED_95 * error
    return _MetricLine(name, value, f"{_number(low)} to {_number(high)}")


def _model_line(row: trainer.LeaderboardRow, columns: Sequence[str]) -> _ModelLine:
    values = {metric.name: _number(metric.value) for metric in row.metrics}
    cells = [values.get(column, "-") for column in columns]
    if row.skipped_reason:
        cells = [f"skipped: {_cell(row.skipped_reason)}", *cells[1:]] if cells else []
    return _ModelLine(row.catalogue_id, "yes" if row.chosen else "", cells)


def _tested(report: trainer.AttemptResult) -> str:
    folds = next((row.folds for row in report.leaderboard if row.chosen), ())
    if not folds:
        return "unknown"
    first, last = (
        from_timestamp(it, "report") for it in (folds[0].first_test_time, folds[-1].last_test_time)
    )
    return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}, walk-forward in {len(folds)} folds"


def _limitations(version: ModelVersion, report: trainer.AttemptResult) -> Iterator[str]:
    tested = _tested(report)
    if tested == "unknown":
        yield "How it was tested is unknown."
    else:
        yield f"Nothing is known about it outside its test, {tested}, and its {report.row_count} rows."
    if version.result.verdict is not Verdict.EDGE:
        yield f"Its verdict is {version.result.verdict}: an advantage over its baseline is not shown."
    if not version.result.errors:
        yield "Its metrics have no standard errors, so differences to other versions may be chance."
    if missing := version.lineage.missing():
        yield f"It cannot be computed again from its lineage, which lacks {', '.join(missing)}."
    if not version.signature.inputs:
        yield "Which columns it reads was not reported."
    if version.state is VersionState.ARCHIVED:
        yield "It is archived: it is kept, and neither served nor promoted."
    if note := version.details.tags.get("limitations"):
        yield note


@cache
def _template() -> "Template":
    # Most processes write no card.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mltrainer_registry", "wire"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # What people wrote is escaped for Markdown by the filters, which escape `<` as well.
        autoescape=False,  # noqa: S701 - the output is Markdown
    )
    environment.filters.update(cell=_cell, text=_text, code=_code, number=_number, second=_second)
    return environment.get_template("model_card.md.jinja")


def _cell(value: Any) -> str:
    """Writes a text on one line of a table, without markup."""
    return _text(value) or "unknown"


def _text(value: Any) -> str:
    return _MARKUP.sub(lambda match: "\\" + match[0], _SPACE.sub(" ", str(value)).strip())


def _code(value: str) -> str:
    return _SPACE.sub(" ", value).replace("`", "'").replace("|", "\\|")


def _number(value: float) -> str:
    return f"{value:.4g}"


def _second(time: datetime | None) -> str:
    return time_text(time.replace(microsecond=0)) if time else "unknown"
