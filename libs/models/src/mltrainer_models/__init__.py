"""Model artifacts: formats, loaders and prediction; the computation key of a training.

What the trainer writes, serving reads: the same code on both sides, numpy only, no pickle and no foreign
decoder.
"""

from mltrainer_models.artifact import (
    COMPANION_FILES,
    EVALUATION_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    SBOM_FILE,
    SIGNATURE_FILE,
    ArtifactError,
    Manifest,
    ManifestEntry,
    ModelArtifact,
    model_store_url,
)
from mltrainer_models.canonical import canonical_digest
from mltrainer_models.computation_key import (
    ComputationInputs,
    EvaluationInputs,
    FieldDifference,
    SearchInputs,
    ViewInputs,
    computation_key,
    explain_difference,
    floor_to_closed_bar,
)
from mltrainer_models.description import ModelDescription, ModelTarget
from mltrainer_models.evaluation import DailyLoss, ModelEvaluation, read_evaluation
from mltrainer_models.linear import LinearModel
from mltrainer_models.predictor import PredictionInputError, Predictor, load_predictor, save_model
from mltrainer_models.reference import FeatureReference, ModelReference, read_reference, summarise_reference
from mltrainer_models.tree_packing import GrownTree, pack_trees
from mltrainer_models.trees import TreesModel

__all__ = [
    "COMPANION_FILES",
    "EVALUATION_FILE",
    "MODEL_FILE",
    "REFERENCE_FILE",
    "SBOM_FILE",
    "SIGNATURE_FILE",
    "ArtifactError",
    "ComputationInputs",
    "DailyLoss",
    "EvaluationInputs",
    "FeatureReference",
    "FieldDifference",
    "GrownTree",
    "LinearModel",
    "Manifest",
    "ManifestEntry",
    "ModelArtifact",
    "ModelDescription",
    "ModelEvaluation",
    "ModelReference",
    "ModelTarget",
    "PredictionInputError",
    "Predictor",
    "SearchInputs",
    "TreesModel",
    "ViewInputs",
    "canonical_digest",
    "computation_key",
    "explain_difference",
    "floor_to_closed_bar",
    "load_predictor",
    "model_store_url",
    "pack_trees",
    "read_evaluation",
    "read_reference",
    "save_model",
    "summarise_reference",
]
