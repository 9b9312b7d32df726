"""What results are worth, and which of them are computed again to compare."""

from dataclasses import dataclass

from mltrainer_models.sampling import is_sampled


@dataclass(frozen=True, slots=True)
class Worth:
    """What a result took: CPU time, and money for all that its attempt held; 0 where unknown."""

    cpu_seconds: float = 0.0
    cost_usd: float = 0.0


UNKNOWN_WORTH = Worth()


@dataclass(frozen=True, slots=True)
class ResultDigests:
    """What an audit compares; empty where unknown.

    Attributes:
        scores: How the model was chosen and what it scored out of sample. Not the verdict, which depends on
            all that its study had tried by then.
    """

    model: str = ""
    scores: str = ""


UNKNOWN_DIGESTS = ResultDigests()


@dataclass(frozen=True, slots=True)
class AuditPolicy:
    """Which known results are computed again.

    Attributes:
        fraction: Share of the trainings that would take a known result.
        minimum_age_s: Younger results are not doubted.
    """

    fraction: float = 0.0
    minimum_age_s: float = 3_600.0

    def demands(self, training: str, key: str, age_s: float) -> bool:
        """Draws by the training and its key, so that the same training is always drawn or never."""
        return is_sampled(training, key, self.fraction) and age_s >= self.minimum_age_s


NO_AUDITS = AuditPolicy()
