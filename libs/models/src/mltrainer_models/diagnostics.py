"""How a model predicted out of sample, in the figures that a report draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mltrainer_models.artifact import DIAGNOSTICS_FILE, ArtifactError
from mltrainer_models.canonical import CanonicalFormError, decode_canonical, encode_canonical

FORMAT_VERSION = 1


class GainKind(StrEnum):
    """What a gain is."""

    STRATEGY_RETURN = "strategy_return"
    LOSS_DIFFERENCE = "loss_difference"


@dataclass(frozen=True, slots=True)
class Gain:
    """What the predictions of one day gained; days since 1970, UTC."""

    day: int
    gain: float


@dataclass(frozen=True, slots=True)
class LaggedCorrelation:
    """Mean correlation over dates of predictions with labels of `lag_bars` later."""

    lag_bars: int
    mean: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Rows with about the same prediction, and what came of them."""

    rows: int
    predicted: float
    observed: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class FeatureImportance:
    """By how much the squared error grows, relative to what it was, where a feature is shuffled."""

    feature: str
    increase: float
    spread: float


@dataclass(frozen=True, slots=True)
class ModelDiagnostics:
    """Out-of-sample figures of a model.

    Attributes:
        gains: In time order. Returns of a strategy are before costs, of one holding period each, and do not
            overlap.
        importance: Of the last fit, most important first; empty where the model does not predict by rows.
        net_gains: Gain by gain, what is left of a strategy after costs; empty where nobody knows.
        baseline: The model that was beaten or not; empty where gains of losses are over the training mean.
        baseline_gains: Gain by gain, what the baseline's strategy leaves after costs; empty for losses.
    """

    gain_kind: GainKind
    gains: tuple[Gain, ...]
    correlations: tuple[LaggedCorrelation, ...]
    calibration: tuple[CalibrationBin, ...]
    importance: tuple[FeatureImportance, ...]
    net_gains: tuple[float, ...] = ()
    baseline: str = ""
    baseline_gains: tuple[float, ...] = ()

    def to_bytes(self) -> bytes:
        """Spells the figures as the bytes of `diagnostics.json`."""
        return encode_canonical(
            {
                "format_version": FORMAT_VERSION,
                "gain_kind": self.gain_kind,
                "gains": _columns(self.gains, Gain),
                "correlations": _columns(self.correlations, LaggedCorrelation),
                "calibration": _columns(self.calibration, CalibrationBin),
                "importance": _columns(self.importance, FeatureImportance),
                "net_gains": list(self.net_gains),
                "baseline": self.baseline,
                "baseline_gains": list(self.baseline_gains),
            }
        )


def read_diagnostics(data: bytes) -> ModelDiagnostics:
    """Reads `diagnostics.json`.

    Raises:
        ArtifactError: the bytes are no such figures.
    """
    try:
        document = decode_canonical(data)
        if document["format_version"] != FORMAT_VERSION:
            raise ArtifactError(DIAGNOSTICS_FILE, "another format than this release reads")
        return ModelDiagnostics(
            GainKind(document["gain_kind"]),
            tuple(Gain(int(day), float(gain)) for day, gain in _rows(document["gains"], Gain)),
            tuple(
                LaggedCorrelation(int(lag), float(mean), float(error))
                for lag, mean, error in _rows(document["correlations"], LaggedCorrelation)
            ),
            tuple(
                CalibrationBin(int(rows), float(predicted), float(observed), float(error))
                for rows, predicted, observed, error in _rows(document["calibration"], CalibrationBin)
            ),
            tuple(
                FeatureImportance(str(name), float(increase), float(spread))
                for name, increase, spread in _rows(document["importance"], FeatureImportance)
            ),
            # Earlier releases wrote none of these.
            tuple(map(float, document.get("net_gains", ()))),
            str(document.get("baseline", "")),
            tuple(map(float, document.get("baseline_gains", ()))),
        )
    except (CanonicalFormError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ArtifactError(DIAGNOSTICS_FILE, "not the figures of a report") from error


def _columns(rows: Sequence[Any], kind: type[Any]) -> dict[str, list[Any]]:
    return {name: [getattr(row, name) for row in rows] for name in kind.__slots__}


def _rows(columns: Any, kind: type[Any]) -> list[tuple[Any, ...]]:
    return list(zip(*(columns[name] for name in kind.__slots__), strict=True))
