"""Reads and writes the names of models, versions, aliases and trainings."""

import re
from dataclasses import dataclass

from mltrainer_registry.domain.errors import InvalidFieldError

ANY = "-"
"""Stands for every model or alias in the name of a policy."""
_ID = r"[a-z0-9](?:[a-z0-9\-_.]{0,61}[a-z0-9])?"
_MODEL = re.compile(rf"models/(?P<model>{_ID})")
_VERSION = re.compile(rf"models/(?P<model>{_ID})/versions/(?P<number>[1-9][0-9]{{0,8}})")
_ALIAS = re.compile(rf"models/(?P<model>{_ID})/aliases/(?P<alias>{_ID})")
_PROMOTION = re.compile(rf"models/(?P<model>{_ID})/promotions/(?P<number>[1-9][0-9]{{0,8}})")
_POLICY = re.compile(rf"models/(?P<model>{_ID}|-)/gatePolicies/(?P<alias>{_ID}|-)")
_ALIAS_ID = re.compile(_ID)
_TRAINING = re.compile(rf"trainings/{_ID}")
_STUDY = re.compile(rf"studies/(?P<study>{_ID})")


@dataclass(frozen=True, slots=True)
class VersionName:
    """Names a version."""

    model: str
    number: int

    def __str__(self) -> str:
        return f"models/{self.model}/versions/{self.number}"


@dataclass(frozen=True, slots=True)
class AliasName:
    """Names an alias."""

    model: str
    alias: str

    def __str__(self) -> str:
        return f"models/{self.model}/aliases/{self.alias}"

    def version(self, number: int) -> VersionName:
        """Names a version that the alias may point to."""
        return VersionName(self.model, number)


@dataclass(frozen=True, slots=True)
class PromotionName:
    """Names a promotion; numbers count up from 1 within a model."""

    model: str
    number: int

    def __str__(self) -> str:
        return f"models/{self.model}/promotions/{self.number}"


@dataclass(frozen=True, slots=True)
class PolicyName:
    """Says for which alias of which model; `-` is any."""

    model: str
    alias: str

    def __str__(self) -> str:
        return f"models/{self.model}/gatePolicies/{self.alias}"

    def closest_first(self) -> tuple["PolicyName", ...]:
        """Lists where conditions are looked for, in this order."""
        return (
            self,
            PolicyName(ANY, self.alias),
            PolicyName(self.model, ANY),
            PolicyName(ANY, ANY),
        )


def model_name(model: str) -> str:
    """Writes the name of a model."""
    return f"models/{model}"


def parse_model(text: str, field: str = "name") -> str:
    """Returns the id within `models/{model}`."""
    return _match(_MODEL, text, field, "models/{model}")["model"]


def parse_version(text: str, field: str = "name") -> VersionName:
    """Reads `models/{model}/versions/{version}`."""
    match = _match(_VERSION, text, field, "models/{model}/versions/{version}")
    return VersionName(match["model"], int(match["number"]))


def parse_alias(text: str, field: str = "name") -> AliasName:
    """Reads `models/{model}/aliases/{alias}`."""
    match = _match(_ALIAS, text, field, "models/{model}/aliases/{alias}")
    return AliasName(match["model"], match["alias"])


def parse_promotion(text: str, field: str = "name") -> PromotionName:
    """Reads `models/{model}/promotions/{promotion}`."""
    match = _match(_PROMOTION, text, field, "models/{model}/promotions/{promotion}")
    return PromotionName(match["model"], int(match["number"]))


def parse_policy(text: str, field: str = "name") -> PolicyName:
    """Reads `models/{model}/gatePolicies/{alias}`, each an id or `-`."""
    match = _match(_POLICY, text, field, "models/{model}/gatePolicies/{alias}")
    return PolicyName(match["model"], match["alias"])


def parse_models(text: str, field: str = "parent") -> str | None:
    """Returns the id within `models/{model}`, None for `models/-`."""
    return None if text == "models/-" else parse_model(text, field)


def is_alias_id(text: str) -> bool:
    """Tells whether an alias may be called so."""
    return _ALIAS_ID.fullmatch(text) is not None


def check_training(text: str, field: str = "training") -> str:
    """Returns `trainings/{training}` unchanged."""
    return _match(_TRAINING, text, field, "trainings/{training}")[0]


def model_of_study(study: str) -> str:
    """Returns the id of the model whose versions the trainings of a study make."""
    return _match(_STUDY, study, "spec.study", "studies/{study}")["study"]


def _match(pattern: re.Pattern[str], text: str, field: str, form: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise InvalidFieldError(field, f"{text[:200]!r} is not of the form {form}")
    return match
