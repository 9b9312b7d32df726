"""Portfolios of skfolio: rows are the returns of assets, one column each."""

from collections.abc import Mapping

from mltrainer_features import TargetKind

from mltrainer_trainer.domain.catalogue.entry import (
    CATALOGUE_EXTRA,
    CatalogueEntry,
    CostClass,
    Parameters,
    Task,
    UniformRange,
)


def _portfolio(
    name: str,
    class_name: str,
    fixed: Parameters | None = None,
    *,
    defaults: Parameters | None = None,
    space: Mapping[str, UniformRange] | None = None,
    max_rows: int = 0,
) -> CatalogueEntry:
    return CatalogueEntry(
        id=name,
        family="portfolios",
        target_kinds=(TargetKind.PORTFOLIO_RETURN,),
        features=("return_1",),
        import_path=f"skfolio.optimization:{class_name}",
        fixed=fixed or {},
        defaults=defaults or {},
        search_space=space or {},
        cost_class=CostClass.MODERATE,
        extra=CATALOGUE_EXTRA,
        task=Task.PORTFOLIO,
        adapter="skfolio",
        max_rows=max_rows,
    )


_PENALTY = {"l2_coef": UniformRange(1e-5, 1e-1, log_scale=True)}

PORTFOLIOS: tuple[CatalogueEntry, ...] = (
    _portfolio("equal-weights", "EqualWeighted"),
    _portfolio("inverse-volatility", "InverseVolatility"),
    _portfolio(
        "minimum-variance",
        "MeanRisk",
        {"risk_measure": "VARIANCE", "objective_function": "MINIMIZE_RISK"},
        defaults={"l2_coef": 0.0},
        space=_PENALTY,
    ),
    _portfolio(
        "maximum-sharpe",
        "MeanRisk",
        {"risk_measure": "VARIANCE", "objective_function": "MAXIMIZE_RATIO"},
        defaults={"l2_coef": 0.0},
        space=_PENALTY,
    ),
    _portfolio(
        "minimum-cvar",
        "MeanRisk",
        {"risk_measure": "CVAR", "objective_function": "MINIMIZE_RISK"},
        defaults={"cvar_beta": 0.95},
        space={"cvar_beta": UniformRange(0.9, 0.99)},
    ),
    _portfolio(
        "minimum-semi-variance",
        "MeanRisk",
        {"risk_measure": "SEMI_VARIANCE", "objective_function": "MINIMIZE_RISK"},
    ),
    _portfolio(
        "minimum-absolute-deviation",
        "MeanRisk",
        {"risk_measure": "MEAN_ABSOLUTE_DEVIATION", "objective_function": "MINIMIZE_RISK"},
    ),
    _portfolio(
        "minimum-drawdown",
        "MeanRisk",
        {"risk_measure": "CDAR", "objective_function": "MINIMIZE_RISK"},
        defaults={"cdar_beta": 0.95},
        space={"cdar_beta": UniformRange(0.8, 0.99)},
    ),
    _portfolio("risk-parity", "RiskBudgeting", {"risk_measure": "VARIANCE"}),
    _portfolio("risk-parity-cvar", "RiskBudgeting", {"risk_measure": "CVAR"}),
    _portfolio("maximum-diversification", "MaximumDiversification"),
    _portfolio("hierarchical-risk-parity", "HierarchicalRiskParity", {"risk_measure": "VARIANCE"}),
    _portfolio("hierarchical-equal-risk", "HierarchicalEqualRiskContribution", {"risk_measure": "VARIANCE"}),
    _portfolio("nested-clusters", "NestedClustersOptimization"),
    _portfolio(
        "robust-cvar",
        "DistributionallyRobustCVaR",
        defaults={"wasserstein_ball_radius": 0.01},
        space={"wasserstein_ball_radius": UniformRange(1e-3, 0.1, log_scale=True)},
        max_rows=250,
    ),
    _portfolio(
        "schur-complementary",
        "SchurComplementary",
        defaults={"gamma": 0.5},
        space={"gamma": UniformRange(0.0, 1.0)},
    ),
)
