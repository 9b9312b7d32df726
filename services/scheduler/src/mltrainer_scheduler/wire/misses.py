"""Writes why a result was not taken."""

from mltrainer.scheduler.v1 import scheduler_service_pb2
from mltrainer_models.computation_key import FieldDifference

from mltrainer_scheduler.application.explain_miss import Miss

_MEANINGS = {
    "key_version": "the form of keys has changed with a release",
    "code_digest": "code that computes has changed",
    "environment_digest": "another Python or other installed distributions",
    "catalogue_digest": "the definition of a model in the search has changed",
    "views": "another version, definition or corrected data of a feature view",
    "target": "another label",
    "symbols": "another universe",
    "as_of_us": "another knowledge time: more or fewer bars are known",
    "evaluation": "time is cut otherwise",
    "search": "other models, another number of trials, or another seed",
    "budget": "another budget, which can end a search sooner or later",
    "study": "results belong to a study, whose trials they count among",
    "propose_alias": "results move the alias that was proposed",
}


def from_miss(miss: Miss) -> scheduler_service_pb2.MissExplanation:
    """Writes an explanation."""
    return scheduler_service_pb2.MissExplanation(
        training=miss.training.name,
        against=miss.against,
        message=miss.message,
        differences=[_difference(one) for one in miss.differences],
        compared_count=miss.compared_count,
        computation_key=miss.training.computation_key,
        against_key=miss.against_key,
    )


def _difference(one: FieldDifference) -> scheduler_service_pb2.InputDifference:
    meaning = _MEANINGS.get(one.field.partition(".")[0], "")
    return scheduler_service_pb2.InputDifference(
        field=one.field, value=one.first, other_value=one.second, meaning=meaning
    )
