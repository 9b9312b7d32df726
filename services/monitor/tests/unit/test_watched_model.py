from datetime import UTC, datetime

from mltrainer_monitor.domain.drift import Comparison, DriftConclusion, DriftReport, FeatureDrift
from mltrainer_monitor.domain.watched_model import DriftOnset, WatchedModel, conclude

NOW = datetime(2026, 1, 5, tzinfo=UTC)
STABLE, DRIFTED, UNKNOWN = (
    DriftConclusion.STABLE,
    DriftConclusion.DRIFTED,
    DriftConclusion.NOT_ENOUGH_DATA,
)


def _onsets(*steps: tuple[int, DriftConclusion]) -> list[DriftOnset | None]:
    model, onsets = WatchedModel("models/m", revision=3), []
    for version, conclusion in steps:
        features = (
            FeatureDrift("a", 1.0, 0.5, 0.001, drifted=True),
            FeatureDrift("b", 0.0, 0.0, 1.0),
        )
        report = DriftReport("models/m", Comparison(conclusion, features), NOW)
        model, onset = conclude(model, version, report)
        onsets.append(onset)
        assert model.evaluated_revision == model.revision
    return onsets


def test_an_onset_is_told_once_until_the_model_is_stable_again() -> None:
    onsets = _onsets(
        (1, STABLE), (1, DRIFTED), (1, DRIFTED), (1, UNKNOWN), (1, DRIFTED), (1, STABLE), (1, DRIFTED)
    )

    assert [onset.revision if onset else 0 for onset in onsets] == [0, 1, 0, 0, 0, 0, 2]
    assert onsets[1] == DriftOnset("models/m", ("a",), NOW, 1)


def test_another_version_begins_afresh() -> None:
    onsets = _onsets((1, DRIFTED), (2, UNKNOWN), (2, DRIFTED))

    assert [bool(onset) for onset in onsets] == [True, False, True]
