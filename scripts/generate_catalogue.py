"""Writes the tables of docs/catalogue.md from the model catalogue; `--check` fails where they differ."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from mltrainer_trainer.domain.catalogue import (
    CATALOGUE,
    ArtifactFormat,
    CatalogueEntry,
    LabelSign,
    Scaling,
    Task,
)

DOCUMENT = Path(__file__).parents[1] / "docs" / "catalogue.md"
_MARK = "<!-- generated from here on -->\n"


def generated() -> str:
    """Renders the catalogue."""
    served = sum(entry.serves_row_by_row for entry in CATALOGUE)
    lines = [f"{len(CATALOGUE)} models, {served} of them served row by row.", "", *_families()]
    for task in Task:
        entries = [entry for entry in CATALOGUE if entry.task is task]
        lines += ["", f"## {task.value.capitalize()}", *_table(entries)]
    return "\n".join(lines) + "\n"


def _families() -> Iterator[str]:
    yield "## Families"
    yield "| family | library | models | artifact | served |"
    yield "|---|---|---|---|---|"
    for family in dict.fromkeys(entry.family for entry in CATALOGUE):
        members = [entry for entry in CATALOGUE if entry.family == family]
        packages = ", ".join(dict.fromkeys(_library(entry) for entry in members))
        formats = ", ".join(dict.fromkeys(entry.artifact.value.lower() for entry in members))
        served = ", ".join(dict.fromkeys(_served(entry) for entry in members))
        yield f"| {family} | {packages} | {len(members)} | {formats} | {served} |"


def _table(entries: Iterable[CatalogueEntry]) -> Iterator[str]:
    yield "| id | code | targets | artifact | rows | constraints | cost | searched |"
    yield "|---|---|---|---|---|---|---|---|"
    for entry in entries:
        cells = (
            entry.id,
            f"`{entry.import_path}`",
            ", ".join(kind.value.lower() for kind in entry.target_kinds) or "-",
            entry.artifact.value.lower(),
            f"≥ {entry.min_rows}" + (f", last {entry.max_rows}" if entry.max_rows else ""),
            ", ".join(_constraints(entry)) or "-",
            entry.cost_class.value.lower(),
            ", ".join(entry.search_space) or "-",
        )
        yield f"| {' | '.join(cells)} |"


def _constraints(entry: CatalogueEntry) -> Iterator[str]:
    if entry.scaling is Scaling.STANDARDISE:
        yield "standardises"
    if entry.label_sign is LabelSign.POSITIVE:
        yield "learns exp(label)"
    if entry.is_seeded:
        yield "seeded"
    if not entry.is_deterministic:
        yield "not deterministic"
    if entry.features:
        yield f"reads {', '.join(entry.features)}"


def _library(entry: CatalogueEntry) -> str:
    return "ours" if entry.package == "mltrainer_trainer" else entry.package


def _served(entry: CatalogueEntry) -> str:
    return "batch" if entry.artifact is ArtifactFormat.LIBRARY else "row by row"


def main() -> int:
    """Writes or compares the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    present = DOCUMENT.read_text(encoding="utf-8")
    text = present.partition(_MARK)[0] + _MARK + generated()
    if not parser.parse_args().check:
        DOCUMENT.write_text(text, encoding="utf-8")
        return 0
    if present == text:
        return 0
    sys.stderr.write("docs/catalogue.md is out of date: run python scripts/generate_catalogue.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
