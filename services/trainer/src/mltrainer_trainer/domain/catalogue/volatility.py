"""Volatility models of arch, for one series of daily returns in per cent."""

from collections.abc import Mapping

from mltrainer_trainer.domain.catalogue.entry import (
    CATALOGUE_EXTRA,
    VOLATILITY_TARGETS,
    ArtifactFormat,
    CatalogueEntry,
    CostClass,
    Parameters,
    Task,
    UniformRange,
)


def _volatility(
    name: str,
    volatility: str,
    *,
    law: str = "Normal",
    mean: str = "ConstantMean",
    defaults: Parameters | None = None,
    space: Mapping[str, UniformRange] | None = None,
    fixed: Parameters | None = None,
) -> CatalogueEntry:
    return CatalogueEntry(
        id=name,
        family="volatility",
        target_kinds=VOLATILITY_TARGETS,
        import_path=f"arch.univariate:{volatility}",
        features=("return_1",),
        fixed={"volatility": volatility, "law": law, "mean": mean, **(fixed or {})},
        defaults=defaults or {},
        search_space=space or {},
        min_rows=500,
        cost_class=CostClass.CHEAP,
        extra=CATALOGUE_EXTRA,
        task=Task.VOLATILITY,
        artifact=ArtifactFormat.LIBRARY,
        adapter="arch",
    )


_LAGS: Parameters = {"p": 1, "q": 1}
_ASYMMETRIC: Parameters = {"p": 1, "o": 1, "q": 1}
_LAG_SPACE = {"p": UniformRange(1, 2, whole=True), "q": UniformRange(1, 2, whole=True)}

VOLATILITY_MODELS: tuple[CatalogueEntry, ...] = (
    _volatility("constant-variance", "ConstantVariance"),
    _volatility("risk-metrics", "EWMAVariance", mean="ZeroMean", fixed={"lam": 0.94}),
    _volatility("ewma-variance", "EWMAVariance", fixed={"lam": None}),
    _volatility("risk-metrics-2006", "RiskMetrics2006", mean="ZeroMean"),
    _volatility("arch", "ARCH", defaults={"p": 5}, space={"p": UniformRange(1, 8, whole=True)}),
    _volatility("garch", "GARCH", defaults=_LAGS, space=_LAG_SPACE),
    _volatility("garch-student", "GARCH", law="StudentsT", defaults=_LAGS, space=_LAG_SPACE),
    _volatility("garch-skewed", "GARCH", law="SkewStudent", defaults=_LAGS, space=_LAG_SPACE),
    _volatility("garch-general-error", "GARCH", law="GeneralizedError", defaults=_LAGS, space=_LAG_SPACE),
    _volatility("autoregressive-garch", "GARCH", mean="ARX", defaults=_LAGS, space=_LAG_SPACE),
    _volatility("har-garch", "GARCH", mean="HARX", defaults=_LAGS, space=_LAG_SPACE),
    _volatility("gjr-garch", "GARCH", law="StudentsT", defaults=_ASYMMETRIC, space=_LAG_SPACE),
    _volatility("threshold-garch", "GARCH", fixed={"power": 1.0}, defaults=_ASYMMETRIC, space=_LAG_SPACE),
    _volatility("egarch", "EGARCH", law="StudentsT", defaults=_ASYMMETRIC, space=_LAG_SPACE),
    _volatility("figarch", "FIGARCH", defaults=_LAGS),
    _volatility("aparch", "APARCH", defaults=_ASYMMETRIC),
    _volatility("midas-variance", "MIDASHyperbolic", defaults={"m": 22}),
    _volatility("harch", "HARCH", defaults={"lags": 5}, space={"lags": UniformRange(2, 22, whole=True)}),
)
