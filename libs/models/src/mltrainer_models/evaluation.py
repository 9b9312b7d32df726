"""How a model did on each day of its out-of-sample test: what two models are compared by."""

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from mltrainer_models.artifact import EVALUATION_FILE, ArtifactError
from mltrainer_models.canonical import CanonicalFormError, decode_canonical, encode_canonical

FORMAT_VERSION = 1


class LossKind(StrEnum):
    """What models of one kind of study are compared by; smaller is better, unlike kinds never compare."""

    SQUARED_ERROR = "squared_error"
    ONE_MINUS_RANK_CORRELATION = "one_minus_rank_correlation"
    NEGATIVE_SHARPE_RATIO = "negative_sharpe_ratio"


@dataclass(frozen=True, slots=True)
class DailyLoss:
    """The mean loss of one test day.

    Attributes:
        day: Days since 1970, UTC.
        rows: Test rows of that day.
    """

    day: int
    loss: float
    rows: int


@dataclass(frozen=True, slots=True)
class ModelEvaluation:
    """Losses by day, ascending.

    Attributes:
        symbols: The universe, sorted: losses of another one are not comparable.
        overlap_days: Over how many further days a label of a day reaches, so that losses correlate.
    """

    symbols: tuple[str, ...]
    overlap_days: int
    losses: tuple[DailyLoss, ...]
    loss_kind: LossKind = LossKind.SQUARED_ERROR

    def to_bytes(self) -> bytes:
        """Spells the losses as the bytes of `evaluation.json`."""
        columns = {
            "day": [one.day for one in self.losses],
            "loss": [one.loss for one in self.losses],
            "rows": [one.rows for one in self.losses],
        }
        return encode_canonical(
            {
                "format_version": FORMAT_VERSION,
                "loss": self.loss_kind,
                "symbols": list(self.symbols),
                "overlap_days": self.overlap_days,
                "days": columns,
            }
        )


def read_evaluation(data: bytes) -> ModelEvaluation:
    """Reads `evaluation.json`.

    Raises:
        ArtifactError: the bytes are no such losses.
    """
    try:
        document = decode_canonical(data)
        if document["format_version"] != FORMAT_VERSION or document["loss"] not in set(LossKind):
            raise ArtifactError(EVALUATION_FILE, "another format than this release reads")
        columns = document["days"]
        losses = tuple(
            DailyLoss(int(day), float(loss), int(rows))
            for day, loss, rows in zip(columns["day"], columns["loss"], columns["rows"], strict=True)
        )
        symbols = tuple(str(symbol) for symbol in document["symbols"])
        kind = LossKind(document["loss"])
        evaluation = ModelEvaluation(symbols, int(document["overlap_days"]), losses, kind)
    except (CanonicalFormError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ArtifactError(EVALUATION_FILE, "not a list of losses by day") from error
    days = [one.day for one in evaluation.losses]
    if evaluation.overlap_days < 0 or any(later <= earlier for earlier, later in pairwise(days)):
        raise ArtifactError(EVALUATION_FILE, "days must ascend and overlap_days must not be negative")
    return evaluation
