"""Says which models of the catalogue load here, without paying for their imports."""

import ctypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from mltrainer_models.training_key import CatalogueModel, selected_models

from mltrainer_trainer.domain.catalogue import CATALOGUE, CatalogueEntry, installing
from mltrainer_trainer.domain.plan import AttemptPlan
from mltrainer_trainer.domain.release import ReleasedModel


def released_models() -> tuple[ReleasedModel, ...]:
    """Returns the catalogue with the reasons why entries cannot be used."""
    return tuple(
        ReleasedModel(
            id=entry.id,
            family=entry.family,
            target_kinds=tuple(kind.value for kind in entry.target_kinds),
            digest=entry.digest,
            unavailable_reason=_reason(entry),
            task=entry.task.value,
            serves_row_by_row=entry.serves_row_by_row,
            extra=entry.extra,
            min_rows=entry.min_rows,
        )
        for entry in CATALOGUE
    )


def plan_models(plan: AttemptPlan) -> tuple[CatalogueModel, ...]:
    """Returns the models of a plan as the scheduler selects them from what was released."""
    models = [
        CatalogueModel(it.id, it.family, it.digest, frozenset(it.target_kinds), not it.unavailable_reason)
        for it in released_models()
    ]
    return selected_models(plan.models, plan.target_kind, models)


@cache
def unavailable_reason(package: str) -> str:
    """Says why a package cannot be imported; empty where it seems to load.

    LightGBM needs a system library that is not always there: loading its own shared object tells at a
    hundredth of the cost of the import.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return f"{package} is not installed"
    for library in sorted(Path(spec.origin).parent.glob("lib/lib_*.so")):
        try:
            ctypes.CDLL(str(library))
        except OSError as error:
            return f"{package} does not load: {error}"
    return ""


def _reason(entry: CatalogueEntry) -> str:
    reason = unavailable_reason(entry.package)
    return f"{reason}{installing(entry)}" if reason else ""
