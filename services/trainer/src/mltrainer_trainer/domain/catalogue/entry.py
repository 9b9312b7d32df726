"""What the catalogue says of one model."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from enum import StrEnum

import numpy as np
from mltrainer_features import TargetKind
from mltrainer_models import canonical_digest

Parameter = str | int | float | bool | None
Parameters = Mapping[str, Parameter]

VOLATILITY_TARGETS = (TargetKind.LOG_REALIZED_VARIANCE,)
RETURN_TARGETS = (TargetKind.EXCESS_RETURN, TargetKind.DIRECTION)
ALL_TARGETS = (*VOLATILITY_TARGETS, *RETURN_TARGETS)
CATALOGUE_EXTRA = "catalogue"
MARKET_STATE = ("average_log_variance_5", "average_log_variance_22")
"""What models of regimes read: the same for all symbols of a date."""


class CostClass(StrEnum):
    """CPU time of one fit on 100,000 rows of 40 features: below 0.1 s, 1 s, 10 s, or more."""

    TRIVIAL = "TRIVIAL"
    CHEAP = "CHEAP"
    MODERATE = "MODERATE"
    EXPENSIVE = "EXPENSIVE"


class Task(StrEnum):
    """What a model is for, which also says what its rows and its predictions are.

    REGRESSION, CLASSIFICATION (label 0 or 1) and RANKING (within a date) learn labels from features.
    VOLATILITY and FORECASTING learn one series; REGIME and ANOMALY learn features without labels; PORTFOLIO
    learns the returns of assets.
    """

    REGRESSION = "REGRESSION"
    CLASSIFICATION = "CLASSIFICATION"
    RANKING = "RANKING"
    VOLATILITY = "VOLATILITY"
    FORECASTING = "FORECASTING"
    REGIME = "REGIME"
    ANOMALY = "ANOMALY"
    PORTFOLIO = "PORTFOLIO"


class ArtifactFormat(StrEnum):
    """How a fitted model is written; all but LIBRARY are served row by row."""

    LINEAR = "LINEAR"
    TREES = "TREES"
    LAYERS = "LAYERS"
    LIBRARY = "LIBRARY"


class Scaling(StrEnum):
    """What happens to features before the fit; the artifact repeats it."""

    NONE = "NONE"
    STANDARDISE = "STANDARDISE"


class LabelSign(StrEnum):
    """Which labels a model learns; POSITIVE ones are learned as exp(label) and predicted as logarithms."""

    ANY = "ANY"
    POSITIVE = "POSITIVE"


@dataclass(frozen=True, slots=True)
class UniformRange:
    """A number between two bounds, evenly or evenly on the log scale, whole where asked."""

    low: float
    high: float
    log_scale: bool = False
    whole: bool = False

    def draw(self, random: np.random.Generator) -> Parameter:
        """Draws one value."""
        if self.log_scale:
            value = float(np.exp(random.uniform(np.log(self.low), np.log(self.high))))
        else:
            value = float(random.uniform(self.low, self.high))
        return round(value) if self.whole else value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values."""

    values: tuple[Parameter, ...]

    def draw(self, random: np.random.Generator) -> Parameter:
        """Draws one value."""
        return self.values[int(random.integers(len(self.values)))]


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One model: what it predicts, where its code is, what is fixed, searched and demanded.

    `features` names the only columns it reads; all where empty. `extra` names what must be installed.
    `adapter` names our code that fits it and writes its artifact. A fit takes the last `max_rows` rows, all
    where that is 0. `state_types` are the only types of its library that its artifact may name. The
    artifact is the same for the same data, parameters and, where `is_seeded`, seed, unless
    `is_deterministic` denies it.
    """

    id: str
    family: str
    target_kinds: tuple[TargetKind, ...]
    import_path: str
    fixed: Parameters = field(default_factory=dict)
    defaults: Parameters = field(default_factory=dict)
    search_space: Mapping[str, UniformRange | Choice] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    min_rows: int = 250
    cost_class: CostClass = CostClass.TRIVIAL
    is_seeded: bool = False
    is_baseline: bool = False
    extra: str = ""
    task: Task = Task.REGRESSION
    artifact: ArtifactFormat = ArtifactFormat.LINEAR
    adapter: str = ""
    link: str = "identity"
    max_rows: int = 0
    scaling: Scaling = Scaling.NONE
    label_sign: LabelSign = LabelSign.ANY
    handles_missing: bool = False
    is_deterministic: bool = True
    state_types: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Identifies the entry; any change of it changes the digest.

        A field that came later and has its default is left out, so that older entries keep their digests; so
        is the artifact format, which the code digest covers.
        """
        content = asdict(self)
        for name, default in _LATER_DEFAULTS.items():
            if content[name] == default:
                del content[name]
        del content["artifact"]
        return canonical_digest(content)

    @property
    def serves_row_by_row(self) -> bool:
        """Tells whether serving can answer single rows with it."""
        return self.artifact is not ArtifactFormat.LIBRARY

    @property
    def package(self) -> str:
        """Names the package whose code it is."""
        return self.import_path.partition(":")[0].partition(".")[0]

    def draw_parameters(self, random: np.random.Generator) -> dict[str, Parameter]:
        """Draws one configuration from the search space."""
        return {**self.defaults, **{name: space.draw(random) for name, space in self.search_space.items()}}

    def columns(self, feature_names: Sequence[str]) -> tuple[str, ...]:
        """Names the columns it reads of those there are, in their order."""
        return tuple(name for name in feature_names if not self.features or name in self.features)

    def missing_features(self, feature_names: Sequence[str]) -> tuple[str, ...]:
        """Names the columns it needs that are not there."""
        return tuple(name for name in self.features if name not in feature_names)


_FIRST_FIELDS = frozenset(
    {"id", "family", "target_kinds", "import_path", "fixed", "defaults", "search_space", "features"}
    | {"min_rows", "cost_class", "is_seeded", "is_baseline", "extra", "artifact"}
)
_LATER_DEFAULTS = {
    it.name: it.default
    for it in fields(CatalogueEntry)
    if it.name not in _FIRST_FIELDS and it.default is not MISSING
}
