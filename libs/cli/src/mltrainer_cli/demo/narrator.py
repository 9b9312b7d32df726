"""Tells a person what the demonstration does now, and how far it is."""

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Step(Protocol):
    """One step in progress."""

    def update(self, fraction: float, detail: str = "") -> None:
        """Says how far it is, 0 to 1, and what it does now."""
        ...


class Narrator(Protocol):
    """Shows steps."""

    def step(self, title: str) -> AbstractContextManager[Step]:
        """Opens a step; it is done when its block ends."""
        ...


@dataclass(frozen=True, slots=True)
class _BarStep:
    progress: Progress
    task: TaskID

    def update(self, fraction: float, detail: str = "") -> None:
        self.progress.update(self.task, completed=fraction, detail=detail)


@dataclass(frozen=True, slots=True)
class BarNarrator:
    """Shows a progress bar for each step, on a terminal."""

    progress: Progress

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Opens a step with a bar of its own."""
        task = self.progress.add_task(title, total=1.0, detail="")
        yield _BarStep(self.progress, task)
        self.progress.update(task, completed=1.0, detail="")


@dataclass(frozen=True, slots=True)
class _SilentStep:
    def update(self, fraction: float, detail: str = "") -> None:
        """Shows nothing; the end of the step is what a log needs."""


@dataclass(frozen=True, slots=True)
class LineNarrator:
    """Writes one line on standard error for each finished step; for logs and for JSON on standard output."""

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Opens a step."""
        start_s = time.monotonic()
        yield _SilentStep()
        sys.stderr.write(f"{title}: {time.monotonic() - start_s:.1f} s\n")


@contextmanager
def narrator(*, on_terminal: bool) -> Iterator[Narrator]:
    """Chooses how to narrate."""
    if not on_terminal:
        yield LineNarrator()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<44}"),
        BarColumn(24),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[detail]}[/]"),
    )
    with Progress(*columns) as progress:
        yield BarNarrator(progress)
