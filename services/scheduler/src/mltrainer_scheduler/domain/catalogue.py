"""What the scheduler knows of trainers and feature views, and whether a request fits it."""

from dataclasses import dataclass
from difflib import get_close_matches

from mltrainer_scheduler.domain.specification import FieldViolation, TargetKind, TrainingSpec
from mltrainer_scheduler.domain.validation import VIEW_REFERENCE

NO_TRAINER_RELEASE = "NO_TRAINER_RELEASE"
UNKNOWN_FEATURE_VIEW_YET = "UNKNOWN_FEATURE_VIEW_YET"
_NAMED_MODELS = 12


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One model that trainers can fit, or cannot for the reason given."""

    id: str
    family: str
    target_kinds: frozenset[TargetKind]
    digest: str
    unavailable_reason: str = ""

    def answers_to(self, name: str) -> bool:
        """Tells whether a request means this entry by an id or a family."""
        return name in {self.id, self.family}


@dataclass(frozen=True, slots=True)
class TrainerRelease:
    """The code that trainers execute."""

    trainer: str
    code_digest: str
    environment_digest: str
    entries: tuple[CatalogueEntry, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class ViewVersion:
    """One version of a feature view and the revision of its data."""

    feature_view: str
    version: int
    definition_digest: str
    data_revision: int
    revision: int


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The tables that the scheduler replicates; `revision` counts their changes."""

    release: TrainerRelease | None
    views: tuple[ViewVersion, ...]
    revision: int = 0

    def view(self, reference: str) -> ViewVersion | None:
        """Returns the version a reference names, the latest where it names none."""
        match = VIEW_REFERENCE.fullmatch(reference)
        if match is None:
            return None
        wanted = match["version"]
        candidates = [
            view
            for view in self.views
            if view.feature_view == match["view"] and (wanted is None or view.version == int(wanted))
        ]
        return max(candidates, key=lambda view: view.version, default=None)


@dataclass(frozen=True, slots=True)
class Selection:
    """The part of the tables that decides the result of one training."""

    release: TrainerRelease
    entries: tuple[CatalogueEntry, ...]
    views: tuple[ViewVersion, ...]


@dataclass(frozen=True, slots=True)
class Unready:
    """The tables cannot answer yet; the training waits for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The tables say that the request can never be carried out."""

    violations: tuple[FieldViolation, ...]


Selected = Selection | Unready | Unknown


def select(spec: TrainingSpec, knowledge: Knowledge, *, views_are_complete: bool) -> Selected:
    """Finds what a valid request selects.

    `views_are_complete` says that a view unknown by now does not exist: views arrive one by one.
    """
    release = knowledge.release
    entries, wrong = _models(spec, release)
    if wrong:
        return Unknown(wrong)
    views = [(reference, knowledge.view(reference)) for reference in spec.feature_views]
    missing = [index for index, (_, view) in enumerate(views) if view is None]
    if missing and knowledge.views and views_are_complete:
        return Unknown(tuple(_unknown_view(index, views[index][0]) for index in missing))
    if release is None:
        return Unready(NO_TRAINER_RELEASE)
    if missing:
        return Unready(UNKNOWN_FEATURE_VIEW_YET)
    return Selection(release, entries, tuple(view for _, view in views if view is not None))


def _unknown_view(index: int, reference: str) -> FieldViolation:
    return FieldViolation(f"feature_views[{index}]", f"no feature view {reference!r} exists")


def _models(
    spec: TrainingSpec, release: TrainerRelease | None
) -> tuple[tuple[CatalogueEntry, ...], tuple[FieldViolation, ...]]:
    if release is None or spec.search is None or spec.target is None:
        return (), ()
    kind = spec.target.kind
    chosen: dict[str, CatalogueEntry] = {}
    wrong: list[FieldViolation] = []
    for index, name in enumerate(spec.search.models):
        named = [entry for entry in release.entries if entry.answers_to(name)]
        usable = [entry for entry in named if not entry.unavailable_reason and kind in entry.target_kinds]
        chosen |= {entry.id: entry for entry in usable}
        if not usable:
            wrong.append(FieldViolation(f"search.models[{index}]", _unusable(name, named, kind, release)))
    return tuple(chosen[key] for key in sorted(chosen)), tuple(wrong)


def _known(name: str, release: TrainerRelease) -> str:
    """Names what there is, or of many what is spelled alike."""
    known = sorted(entry.id for entry in release.entries if not entry.unavailable_reason)
    if len(known) <= _NAMED_MODELS:
        return ", ".join(known) or "none"
    alike = get_close_matches(name, known, n=3)
    return f"{len(known)} others" + (f", such as {', '.join(alike)}" if alike else "")


def _unusable(name: str, named: list[CatalogueEntry], kind: TargetKind, release: TrainerRelease) -> str:
    if not named:
        return f"no model {name!r} is known; the catalogue has {_known(name, release)}"
    for entry in named:
        if entry.unavailable_reason:
            return f"{name!r} cannot be used here: {entry.unavailable_reason}"
    return f"{name!r} cannot predict {kind}"
