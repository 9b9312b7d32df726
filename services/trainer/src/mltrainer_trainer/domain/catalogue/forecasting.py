"""Forecasts of one series: statsforecast and statsmodels."""

from collections.abc import Mapping

from mltrainer_features import TargetKind

from mltrainer_trainer.domain.catalogue.entry import (
    CATALOGUE_EXTRA,
    ArtifactFormat,
    CatalogueEntry,
    Choice,
    CostClass,
    Parameters,
    Task,
    UniformRange,
)

Space = Mapping[str, UniformRange | Choice]
_SEASON = 4


def _forecast(
    name: str,
    path: str,
    adapter: str,
    *,
    family: str,
    fixed: Parameters | None = None,
    defaults: Parameters | None = None,
    space: Space | None = None,
    cost: CostClass = CostClass.CHEAP,
    types: tuple[str, ...] = (),
) -> CatalogueEntry:
    return CatalogueEntry(
        id=name,
        family=family,
        target_kinds=(TargetKind.LOG_REALIZED_VARIANCE, TargetKind.EXCESS_RETURN),
        import_path=path,
        fixed=fixed or {},
        defaults=defaults or {},
        search_space=space or {},
        min_rows=60,
        cost_class=cost,
        extra=CATALOGUE_EXTRA,
        task=Task.FORECASTING,
        artifact=ArtifactFormat.LIBRARY,
        adapter=adapter,
        state_types=types,
    )


def _nixtla(
    name: str,
    class_name: str,
    *,
    fixed: Parameters | None = None,
    defaults: Parameters | None = None,
    space: Space | None = None,
    cost: CostClass = CostClass.CHEAP,
    types: tuple[str, ...] = (),
) -> CatalogueEntry:
    return _forecast(
        name,
        f"statsforecast.models:{class_name}",
        "statsforecast",
        family="statsforecast-models",
        fixed=fixed,
        defaults=defaults,
        space=space,
        cost=cost,
        types=types,
    )


def _arima(name: str, p: int, d: int, q: int, trend: str) -> CatalogueEntry:
    return _forecast(
        name,
        "statsmodels.tsa.arima.model:ARIMA",
        "statsmodels-state-space",
        family="statsmodels-series",
        fixed={"d": d, "trend": trend},
        defaults={"p": p, "q": q},
        space={"p": UniformRange(0, 3, whole=True), "q": UniformRange(0, 3, whole=True)},
        cost=CostClass.MODERATE,
    )


def _components(name: str, fixed: Parameters) -> CatalogueEntry:
    return _forecast(
        name,
        "statsmodels.tsa.statespace.structural:UnobservedComponents",
        "statsmodels-state-space",
        family="statsmodels-series",
        fixed=fixed,
        cost=CostClass.MODERATE,
    )


def _ets(name: str, fixed: Parameters) -> CatalogueEntry:
    return _forecast(
        name,
        "statsmodels.tsa.exponential_smoothing.ets:ETSModel",
        "statsmodels-state-space",
        family="statsmodels-series",
        fixed={"error": "add", **fixed},
    )


def _smoothing(name: str, class_name: str, fixed: Parameters | None = None) -> CatalogueEntry:
    return _forecast(
        name,
        f"statsmodels.tsa.holtwinters:{class_name}",
        "statsmodels-smoothing",
        family="statsmodels-series",
        fixed=fixed,
    )


def _autoregression(name: str, trend: str, lags: int) -> CatalogueEntry:
    return _forecast(
        name,
        "statsmodels.tsa.ar_model:AutoReg",
        "statsmodels-autoregression",
        family="statsmodels-series",
        fixed={"trend": trend},
        defaults={"lags": lags},
        space={"lags": UniformRange(1, 12, whole=True)},
    )


_WINDOW: Space = {"window_size": UniformRange(2, 30, whole=True)}
_ALPHA: Space = {"alpha": UniformRange(0.02, 0.8)}
_MFLES = ("statsforecast.mfles:MFLES",)
_SEASONAL: Parameters = {"season_length": _SEASON}

FORECASTERS: tuple[CatalogueEntry, ...] = (
    _nixtla("naive", "Naive"),
    _nixtla("seasonal-naive", "SeasonalNaive", fixed=_SEASONAL),
    _nixtla("historic-average", "HistoricAverage"),
    _nixtla("random-walk-with-drift", "RandomWalkWithDrift"),
    _nixtla("window-average", "WindowAverage", defaults={"window_size": 8}, space=_WINDOW),
    _nixtla(
        "seasonal-window-average",
        "SeasonalWindowAverage",
        fixed=_SEASONAL,
        defaults={"window_size": 4},
        space=_WINDOW,
    ),
    _nixtla("simple-smoothing", "SimpleExponentialSmoothing", defaults={"alpha": 0.2}, space=_ALPHA),
    _nixtla("simple-smoothing-optimised", "SimpleExponentialSmoothingOptimized"),
    _nixtla(
        "seasonal-smoothing",
        "SeasonalExponentialSmoothing",
        fixed=_SEASONAL,
        defaults={"alpha": 0.2},
        space=_ALPHA,
    ),
    _nixtla("seasonal-smoothing-optimised", "SeasonalExponentialSmoothingOptimized", fixed=_SEASONAL),
    _nixtla("holt", "Holt"),
    _nixtla("holt-winters", "HoltWinters", fixed=_SEASONAL),
    _nixtla("auto-ets", "AutoETS", fixed=_SEASONAL, cost=CostClass.MODERATE),
    _nixtla("auto-ces", "AutoCES", fixed=_SEASONAL, cost=CostClass.MODERATE),
    _nixtla(
        "auto-arima", "AutoARIMA", fixed={"max_p": 3, "max_q": 3, "nmodels": 20}, cost=CostClass.EXPENSIVE
    ),
    _nixtla("auto-theta", "AutoTheta", fixed=_SEASONAL, cost=CostClass.MODERATE),
    _nixtla("theta", "Theta", fixed=_SEASONAL),
    _nixtla("optimised-theta", "OptimizedTheta", fixed=_SEASONAL),
    _nixtla("dynamic-theta", "DynamicTheta", fixed=_SEASONAL),
    _nixtla("dynamic-optimised-theta", "DynamicOptimizedTheta", fixed=_SEASONAL),
    _nixtla("arima-nixtla", "ARIMA", fixed={"d": 0}, defaults={"p": 1, "q": 1}),
    _nixtla("mfles", "MFLES", fixed=_SEASONAL, types=_MFLES),
    _nixtla(
        "auto-mfles",
        "AutoMFLES",
        fixed={"season_length": _SEASON, "test_size": 8},
        types=_MFLES,
        cost=CostClass.MODERATE,
    ),
    _nixtla(
        "tbats", "TBATS", fixed={"season_length": _SEASON, "use_boxcox": False}, cost=CostClass.EXPENSIVE
    ),
    _autoregression("autoregression", "c", 4),
    _autoregression("autoregression-with-trend", "ct", 4),
    _arima("arma", 1, 0, 1, "c"),
    _arima("arima", 1, 1, 1, "n"),
    _arima("arima-with-drift", 1, 1, 1, "t"),
    _forecast(
        "seasonal-arima",
        "statsmodels.tsa.statespace.sarimax:SARIMAX",
        "statsmodels-state-space",
        family="statsmodels-series",
        fixed={
            "d": 0,
            "trend": "c",
            "seasonal_p": 1,
            "seasonal_d": 0,
            "seasonal_q": 0,
            "seasonal_bars": _SEASON,
        },
        defaults={"p": 1, "q": 0},
        space={"p": UniformRange(0, 3, whole=True), "q": UniformRange(0, 2, whole=True)},
        cost=CostClass.MODERATE,
    ),
    _components("components-local-level", {"level": "local level"}),
    _components("components-linear-trend", {"level": "local linear trend"}),
    _components("components-smooth-trend", {"level": "smooth trend"}),
    _components("components-autoregressive", {"level": "local level", "autoregressive": 1}),
    _components(
        "components-cycle",
        {"level": "local level", "cycle": True, "stochastic_cycle": True, "damped_cycle": True},
    ),
    _ets("ets-level", {}),
    _ets("ets-trend", {"trend": "add"}),
    _ets("ets-damped-trend", {"trend": "add", "damped_trend": True}),
    _ets("ets-seasonal", {"seasonal": "add", "seasonal_periods": _SEASON}),
    _smoothing("smoothing-level", "SimpleExpSmoothing"),
    _smoothing("smoothing-trend", "Holt"),
    _smoothing("smoothing-damped-trend", "Holt", {"damped_trend": True}),
)
