"""Encodes domain values as the resources of the contract."""

from collections.abc import Sequence

from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer.registry.v1 import resources_pb2 as resources
from mltrainer.trainer.v1 import resources_pb2 as trainer
from mltrainer.types.v1 import types_pb2 as types

from mltrainer_registry.application.collect_garbage import GarbageReport
from mltrainer_registry.application.watch_models import Bookmark
from mltrainer_registry.domain.aliases import Alias, AliasMove
from mltrainer_registry.domain.changes import LoggedChange
from mltrainer_registry.domain.gates import GateEvaluation
from mltrainer_registry.domain.imports import ImportOrigin
from mltrainer_registry.domain.manifests import Manifest
from mltrainer_registry.domain.names import model_name
from mltrainer_registry.domain.policies import PolicyChange
from mltrainer_registry.domain.promotions import Promotion
from mltrainer_registry.domain.uploads import PART_BYTES, HeldFile
from mltrainer_registry.domain.versions import Lineage, Model, ModelVersion, Target, VersionState
from mltrainer_registry.wire.governance import encode_policy, encode_promotion
from mltrainer_registry.wire.times import to_timestamp

# A version is encoded for its event and its answers; while it is held here, its id is nobody else's.
_MAX_ENCODED = 256
_encoded: dict[int, tuple[ModelVersion, resources.ModelVersion]] = {}
_STATES = {
    VersionState.ACTIVE: resources.ModelVersion.STATE_ACTIVE,
    VersionState.ARCHIVED: resources.ModelVersion.STATE_ARCHIVED,
}


def encode_model(model: Model) -> resources.Model:
    """Encodes a model."""
    return resources.Model(
        name=model_name(model.model),
        version_count=model.version_count,
        aliases=map(encode_alias, model.aliases),
        create_time=to_timestamp(model.create_time),
        etag=model.etag,
        description=model.details.description,
        tags=dict(model.details.tags),
        revision=model.revision,
    )


def encode_version(version: ModelVersion) -> resources.ModelVersion:
    """Encodes a version, or returns what it was encoded to before: nobody may change that message."""
    held = _encoded.get(id(version))
    if held is None:
        held = _encoded[id(version)] = (version, _encode_version(version))
        if len(_encoded) > _MAX_ENCODED:
            del _encoded[next(iter(_encoded))]
    return held[1]


def _encode_version(version: ModelVersion) -> resources.ModelVersion:
    return resources.ModelVersion(
        name=str(version.name),
        number=version.name.number,
        state=_STATES[version.state],
        training=version.training,
        manifest=_encode_manifest(version.manifest),
        lineage=_encode_lineage(version.lineage),
        result=trainer.AttemptResult.FromString(version.result.report),
        target=_encode_target(version.target),
        create_time=to_timestamp(version.create_time),
        revision=version.revision,
        etag=version.etag,
        description=version.details.description,
        tags=dict(version.details.tags),
        owner=version.owner,
        update_revision=version.state_revision,
        origin=_encode_origin(version.origin) if version.origin else None,
    )


def encode_alias(alias: Alias) -> resources.Alias:
    """Encodes an alias."""
    return resources.Alias(
        name=str(alias.name),
        version=str(alias.version),
        update_time=to_timestamp(alias.update_time),
        revision=alias.revision,
    )


def encode_move(move: AliasMove) -> resources.AliasMove:
    """Encodes an entry of an alias's history."""
    return resources.AliasMove(
        alias=str(move.alias),
        from_version=str(move.alias.version(move.from_number)) if move.from_number else "",
        to_version=str(move.alias.version(move.to_number)),
        actor=move.actor,
        reason=move.reason,
        move_time=to_timestamp(move.move_time),
        revision=move.revision,
    )


def encode_evaluation(evaluation: GateEvaluation) -> resources.GateEvaluation:
    """Encodes a gate evaluation."""
    return resources.GateEvaluation(
        version=str(evaluation.version),
        alias=str(evaluation.alias),
        passed=evaluation.passed,
        conditions=[
            resources.GateCondition(
                condition=held.condition,
                passed=held.passed,
                detail=held.detail,
                estimate=held.estimate,
                standard_error=held.standard_error,
                bound=held.bound,
            )
            for held in evaluation.results
        ],
        evaluate_time=to_timestamp(evaluation.evaluate_time),
    )


def encode_watch_item(item: LoggedChange | Bookmark) -> api.WatchModelsResponse:
    """Encodes a change or a bookmark."""
    if isinstance(item, Bookmark):
        return api.WatchModelsResponse(revision=item.revision, bookmark=api.Bookmark())
    response = api.WatchModelsResponse(revision=item.revision, traceparent=item.traceparent)
    match item.resource:
        case ModelVersion() as version:
            response.version.CopyFrom(encode_version(version))
        case Alias() as alias:
            response.alias.CopyFrom(encode_alias(alias))
        case Model() as model:
            response.model.CopyFrom(encode_model(model))
        case GateEvaluation() as evaluation:
            response.gate_evaluation.CopyFrom(encode_evaluation(evaluation))
        case Promotion() as promotion:
            response.promotion.CopyFrom(encode_promotion(promotion))
        case PolicyChange() as policy:
            response.gate_policy.CopyFrom(encode_policy(policy))
    return response


def encode_held_files(files: Sequence[HeldFile]) -> api.GetUploadResponse:
    """Encodes what is stored of an upload."""
    response = api.GetUploadResponse(part_bytes=PART_BYTES)
    for file in files:
        parts = [api.UploadedPart(number=part.number, sha256=part.sha256) for part in file.parts]
        response.files.add(complete=file.is_complete, parts=parts)
    return response


def encode_garbage_report(report: GarbageReport) -> api.CollectGarbageResponse:
    """Encodes what a collection of garbage has found."""
    return api.CollectGarbageResponse(
        scanned_count=report.scanned_count,
        garbage_count=report.garbage_count,
        garbage_bytes=report.garbage_bytes,
        expired_upload_count=report.expired_upload_count,
        abandoned_part_count=report.abandoned_part_count,
        sha256=report.digests,
    )


def _encode_manifest(manifest: Manifest) -> resources.Manifest:
    files = [
        resources.ArtifactFile(path=file.path, sha256=file.sha256, size_bytes=file.size_bytes)
        for file in manifest.files
    ]
    return resources.Manifest(digest=manifest.digest, files=files)


def _encode_origin(origin: ImportOrigin) -> resources.Origin:
    return resources.Origin(
        source=origin.source,
        version=origin.version,
        create_time=to_timestamp(origin.create_time) if origin.create_time else None,
        format=origin.format,
        attributes=dict(origin.attributes),
    )


def _encode_lineage(lineage: Lineage) -> trainer.Lineage:
    return trainer.Lineage(
        training=lineage.training,
        attempt=lineage.attempt,
        dataset=lineage.dataset,
        dataset_sha256=lineage.dataset_sha256,
        feature_view_versions=lineage.feature_view_versions,
        code_digest=lineage.code_digest,
        environment_digest=lineage.environment_digest,
        as_of=to_timestamp(lineage.as_of_time) if lineage.as_of_time else None,
        study=lineage.study,
        computation_key=lineage.computation_key,
        parent_version=lineage.parent_version,
    )


def _encode_target(target: Target) -> types.Target:
    kind = types.TargetKind.Value(f"TARGET_KIND_{target.kind}")
    return types.Target(kind=kind, horizon_bars=target.horizon_bars)
