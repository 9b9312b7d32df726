"""The policies by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from mltrainer_scheduling.draft import Draft, by_priority, in_turn
from mltrainer_scheduling.easy import easy_backfill
from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Floats, taken
from mltrainer_scheduling.learning import Experience, Lessons, expected_s
from mltrainer_scheduling.levels import Levels, tuned_levels
from mltrainer_scheduling.plan import Gate, OpenGate, Plan, Policy
from mltrainer_scheduling.replanning import Terms
from mltrainer_scheduling.settling import settled
from mltrainer_scheduling.snapshot import Snapshot

_NEVER = float("inf")


def _gpus(snapshot: Snapshot) -> Floats:
    return snapshot.jobs.gang_gpu_millis / WHOLE_GPU_MILLIS


@dataclass(frozen=True, slots=True)
class Queueing:
    """Starts in order and never preempts."""

    name: str
    skips: bool
    key: Callable[[Snapshot], Floats] | None = None

    def plan(self, snapshot: Snapshot, gate: Gate | None = None) -> Plan:
        """Returns what starts."""
        draft = Draft(snapshot, gate or OpenGate())
        keys = [] if self.key is None else [self.key(snapshot)]
        in_turn(draft, by_priority(snapshot, snapshot.pending, keys), skips=self.skips)
        return draft.plan()


@dataclass(frozen=True, slots=True)
class EasyBackfill:
    """Reserves for the first that does not fit; others may pass it if they end in time. Knows run times."""

    name: str = "easy-backfill"

    def plan(self, snapshot: Snapshot, gate: Gate | None = None) -> Plan:
        """Returns what starts."""
        draft = Draft(snapshot, gate or OpenGate())
        easy_backfill(draft, by_priority(snapshot, snapshot.pending, []))
        return draft.plan()


@dataclass(frozen=True, slots=True)
class Preemptive:
    """Replans by an urgency, with the same terms for all."""

    name: str
    urgency_s: Callable[[Snapshot], Floats]
    terms: Terms

    def plan(self, snapshot: Snapshot, gate: Gate | None = None) -> Plan:
        """Returns what starts and stops."""
        if bool(snapshot.jobs.running.all()):
            return Plan()
        return settled(snapshot, gate or OpenGate(), self.urgency_s(snapshot), self.terms, _NEVER)


@dataclass(frozen=True, slots=True)
class LeastAttained:
    """Serves whoever has received least so far, in levels; asks again when a job leaves its level."""

    name: str
    levels: Callable[[Snapshot], Levels]

    def plan(self, snapshot: Snapshot, gate: Gate | None = None) -> Plan:
        """Returns what starts and stops."""
        if bool(snapshot.jobs.running.all()):
            return Plan()
        levels = self.levels(snapshot)
        urgency = levels.of(snapshot).astype(np.float64)
        return settled(snapshot, gate or OpenGate(), urgency, _PLAIN_TERMS, levels.next_change_s(snapshot))


@dataclass(frozen=True, slots=True)
class Learned:
    """Ranks by what finished jobs teach: Gittins index, divided by a power of the width.

    What the experience keeps from the last history only saves time: a plan depends on its snapshot alone.
    """

    name: str
    experience: Experience
    width_power: float
    terms: Terms

    def plan(self, snapshot: Snapshot, gate: Gate | None = None) -> Plan:
        """Returns what starts and stops."""
        if bool(snapshot.jobs.running.all()):
            return Plan()
        return settled(snapshot, gate or OpenGate(), self._urgency_s(snapshot), self.terms, _NEVER)

    def _urgency_s(self, snapshot: Snapshot) -> Floats:
        known = snapshot.jobs.known_urgency_s
        if known is None:
            return expected_s(snapshot, self.experience) * _gpus(snapshot) ** self.width_power
        new = np.flatnonzero(np.isnan(known))
        rest = replace(snapshot, jobs=replace(taken(snapshot.jobs, new), known_urgency_s=None))
        urgency = known.copy()
        urgency[new] = self._urgency_s(rest)
        return urgency


# As in the literature, policies we compare with are not reluctant; all may move narrow jobs out of the way.
_PLAIN_TERMS = Terms(moves=True)
_GITTINS_TERMS = Terms(reluctance=0.2, moves=True)
# One configuration for all clusters and months; ADR 0050 tells where the figures come from.
DEFAULT_TERMS = Terms(
    reluctance=0.5,
    reluctance_per_preemption=0.02,
    gain_per_day=0.2,
    longest_wait_s=7 * 86_400.0,
    minimum_run_s=300.0,
    most_preemptions=100,
    moves=True,
)
DEFAULT_WIDTH_POWER = 0.35
_PLAIN = Lessons(campaign_weight=0.0, by_kind=False)
_SERVICE = Lessons(campaign_weight=0.0, by_kind=False, by_service=True)


def _duration(snapshot: Snapshot) -> Floats:
    return snapshot.jobs.remaining_s


def _remaining_service(snapshot: Snapshot) -> Floats:
    return np.maximum(snapshot.jobs.remaining_s, 1.0) * _gpus(snapshot)


_MAKERS: Mapping[str, Callable[[], Policy]] = {
    "fifo": lambda: Queueing("fifo", skips=False),
    "backfill": lambda: Queueing("backfill", skips=True),
    "easy-backfill": EasyBackfill,
    "sjf": lambda: Queueing("sjf", skips=True, key=_duration),
    "srtf": lambda: Preemptive("srtf", _duration, _PLAIN_TERMS),
    "srsf": lambda: Preemptive("srsf", _remaining_service, _PLAIN_TERMS),
    "las-2q": lambda: LeastAttained("las-2q", lambda _: Levels((3_200.0,), by_service=True)),
    "las-2q-long": lambda: LeastAttained("las-2q-long", lambda _: Levels((36_000.0,), by_service=True)),
    "las": lambda: LeastAttained("las", tuned_levels),
    "gittins": lambda: Learned("gittins", Experience(_PLAIN), 0.0, _GITTINS_TERMS),
    "gittins-service": lambda: Learned("gittins-service", Experience(_SERVICE), 0.0, _GITTINS_TERMS),
    "default": lambda: Learned("default", Experience(Lessons()), DEFAULT_WIDTH_POWER, DEFAULT_TERMS),
}
POLICY_NAMES = tuple(_MAKERS)
ORACLES = frozenset({"easy-backfill", "sjf", "srtf", "srsf"})


def policy(name: str) -> Policy:
    """Makes a policy.

    Raises:
        KeyError: No policy has this name.
    """
    return _MAKERS[name]()
