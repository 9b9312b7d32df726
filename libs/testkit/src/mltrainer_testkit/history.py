"""Checks a history: what clients asked for, every event that followed, and what the services know at the end.

The services may be killed at any moment, events may arrive twice, and a client may not know whether a request
was stored. None of that excuses an entry in what `check` returns.
"""

from mltrainer_testkit.history_facts import Fault, Finding, History
from mltrainer_testkit.history_trainings import (
    find_disorder,
    find_life_after_the_end,
    find_unasked,
    find_wrong_allocations,
    find_wrong_attempts,
    find_wrong_outcomes,
)
from mltrainer_testkit.history_versions import (
    find_broken_alias_histories,
    find_dead_letters,
    find_gaps,
    find_unreadable_artifacts,
    find_untold_versions,
    find_wrong_versions,
)

__all__ = ["RULES", "Fault", "Finding", "History", "check"]

RULES = (
    find_unasked,
    find_wrong_outcomes,
    find_life_after_the_end,
    find_wrong_allocations,
    find_wrong_attempts,
    find_disorder,
    find_wrong_versions,
    find_gaps,
    find_untold_versions,
    find_unreadable_artifacts,
    find_broken_alias_histories,
    find_dead_letters,
)


def check(history: History) -> list[Finding]:
    """Returns every broken promise; nothing for a history that keeps them all."""
    return [finding for rule in RULES for finding in rule(history)]
