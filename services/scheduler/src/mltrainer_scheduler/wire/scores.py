"""Digests what an audit compares of a result beside the model."""

import hashlib

from mltrainer.trainer.v1.resources_pb2 import AttemptResult


def scores_digest(result: AttemptResult) -> str:
    """Hashes how the model was chosen and what it scored, by fold too; empty where nothing is said of it.

    Other models of the leaderboard are left out: how many a budget of CPU time reaches differs by the moment.
    """
    if not result.metrics:
        return ""
    part = AttemptResult(
        catalogue_id=result.catalogue_id,
        parameters_json=result.parameters_json,
        metrics=result.metrics,
        leaderboard=[row for row in result.leaderboard if row.chosen],
        row_count=result.row_count,
    )
    return hashlib.sha256(part.SerializeToString(deterministic=True)).hexdigest()
