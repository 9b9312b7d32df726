"""What the registry promises about versions, artifacts and aliases."""

from collections import Counter, defaultdict

from mltrainer.registry.v1 import events_pb2 as registry
from mltrainer.registry.v1.resources_pb2 import AliasMove
from mltrainer.scheduler.v1.resources_pb2 import Training

from mltrainer_testkit.history_facts import Fault, Finding, Findings, History


def find_wrong_versions(history: History) -> Findings:
    """Every completed training has one version, with the files it completed with; others have none."""
    made = Counter(version.training for version in history.versions)
    for name, count in made.items():
        if count > 1:
            yield Finding(Fault.SECOND_VERSION, name, f"it has {count} versions")
    for training in history.trainings:
        if training.state == Training.STATE_COMPLETED and not made[training.name]:
            yield Finding(Fault.LOST_VERSION, training.name, "it completed and has no version")
    for version in history.versions:
        owner = history.trainings_by_name.get(version.training)
        if owner is None or owner.state != Training.STATE_COMPLETED:
            state = "unknown" if owner is None else Training.State.Name(owner.state)
            yield Finding(Fault.UNEARNED_VERSION, version.name, f"{version.training} is {state}")
        elif owner.manifest_digest != version.manifest.digest:
            detail = (
                f"manifest {version.manifest.digest}; {owner.name} completed with {owner.manifest_digest}"
            )
            yield Finding(Fault.UNEARNED_VERSION, version.name, detail)


def find_gaps(history: History) -> Findings:
    """Version numbers of a model count up from 1 without gaps."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for version in history.versions:
        numbers[version.name.rpartition("/versions/")[0]].append(version.number)
    for model, given in numbers.items():
        if sorted(given) != list(range(1, len(given) + 1)):
            yield Finding(Fault.VERSION_GAP, model, f"its {len(given)} versions have numbers {sorted(given)}")


def find_untold_versions(history: History) -> Findings:
    """Every version is told of by exactly one event, and every event tells of a version that exists."""
    kept = {(version.name, version.training, version.manifest.digest) for version in history.versions}
    told = Counter(
        (event.version.name, event.version.training, event.version.manifest.digest)
        for event in history.of_type(registry.VersionCreated)
    )
    for name, training, digest in sorted(kept.symmetric_difference(told)):
        where = "events" if (name, training, digest) in told else "the registry"
        detail = f"{training} with manifest {digest} is known to {where} only"
        yield Finding(Fault.VERSION_NOT_TOLD, name, detail)
    for (name, training, _), count in told.items():
        if count > 1:
            yield Finding(Fault.SECOND_VERSION, training, f"{name} was told of by {count} different events")


def find_unreadable_artifacts(history: History) -> Findings:
    """Every file of every version can be read by its digest."""
    for version in history.versions:
        if not version.manifest.files:
            yield Finding(Fault.ARTIFACT_UNREADABLE, version.name, "it has no files")
        for file in version.manifest.files:
            if file.sha256 not in history.readable_digests:
                yield Finding(Fault.ARTIFACT_UNREADABLE, version.name, f"{file.path}, {file.sha256}")


def find_broken_alias_histories(history: History) -> Findings:
    """Each move of an alias begins where the one before ended; the last one ends where the alias points."""
    moves: dict[str, list[AliasMove]] = defaultdict(list)
    for event in history.of_type(registry.AliasMoved):
        moves[event.move.alias].append(event.move)
    present = {alias.name: alias.version for alias in history.aliases}
    for alias in sorted(moves.keys() | present.keys()):
        where = ""
        for move in sorted(moves[alias], key=lambda move: move.revision):
            if move.from_version != where:
                detail = f"revision {move.revision} moves it from {move.from_version!r}; it was at {where!r}"
                yield Finding(Fault.ALIAS_HISTORY_BROKEN, alias, detail)
            where = move.to_version
        if where != present.get(alias, ""):
            detail = f"its moves end at {where!r}; it points to {present.get(alias, '')!r}"
            yield Finding(Fault.ALIAS_HISTORY_BROKEN, alias, detail)


def find_dead_letters(history: History) -> Findings:
    """Nothing was given up."""
    for letter in history.dead_letters:
        yield Finding(Fault.DEAD_LETTER, letter.partition(" ")[0], letter)
