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
from mltrainer_models.blend import BlendModel
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
from mltrainer_models.evaluation import DailyLoss, LossKind, ModelEvaluation, read_evaluation
from mltrainer_models.layer_operations import Layer
from mltrainer_models.layers import LayersModel
from mltrainer_models.library_model import BatchOnlyError, LibraryModel, read_library_model
from mltrainer_models.library_state import ObjectState, UnsupportedStateError
from mltrainer_models.linear import LinearModel
from mltrainer_models.links import Link
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
    "BatchOnlyError",
    "BlendModel",
    "ComputationInputs",
    "DailyLoss",
    "EvaluationInputs",
    "FeatureReference",
    "FieldDifference",
    "GrownTree",
    "Layer",
    "LayersModel",
    "LibraryModel",
    "LinearModel",
    "Link",
    "LossKind",
    "Manifest",
    "ManifestEntry",
    "ModelArtifact",
    "ModelDescription",
    "ModelEvaluation",
    "ModelReference",
    "ModelTarget",
    "ObjectState",
    "PredictionInputError",
    "Predictor",
    "SearchInputs",
    "TreesModel",
    "UnsupportedStateError",
    "ViewInputs",
    "canonical_digest",
    "computation_key",
    "explain_difference",
    "floor_to_closed_bar",
    "load_predictor",
    "model_store_url",
    "pack_trees",
    "read_evaluation",
    "read_library_model",
    "read_reference",
    "save_model",
    "summarise_reference",
]
