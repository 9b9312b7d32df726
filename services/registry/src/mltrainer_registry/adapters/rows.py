"""Translates between rows and domain values."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from mltrainer_registry.domain.aliases import Alias, AliasMove
from mltrainer_registry.domain.details import Details
from mltrainer_registry.domain.gates import ConditionResult, GateEvaluation
from mltrainer_registry.domain.imports import ImportOrigin
from mltrainer_registry.domain.manifests import ArtifactFile, Manifest
from mltrainer_registry.domain.names import AliasName, VersionName
from mltrainer_registry.domain.versions import (
    NO_SIGNATURE,
    Column,
    Lineage,
    ModelVersion,
    Result,
    Signature,
    Target,
    Verdict,
    VersionState,
)

Row = Any
"""A row of SQLAlchemy; its columns are attributes."""


def version_row(version: ModelVersion) -> dict[str, Any]:
    """Writes a version."""
    return {
        "model": version.name.model,
        "number": version.name.number,
        "state": version.state,
        "training": version.training,
        "manifest": manifest_json(version.manifest),
        "lineage": _lineage_json(version.lineage),
        "target_kind": version.target.kind,
        "horizon_bars": version.target.horizon_bars,
        "verdict": version.result.verdict,
        "metrics": _metrics_json(version.result),
        "report": version.result.report,
        "create_time": version.create_time,
        "revision": version.revision,
        "state_revision": version.state_revision,
        "owner": version.owner,
        "signature": _signature_json(version.signature),
        "origin": _origin_json(version.origin),
        **details_row(version.details),
    }


def read_version(row: Row) -> ModelVersion:
    """Reads a version."""
    return ModelVersion(
        name=VersionName(row.model, row.number),
        state=VersionState(row.state),
        training=row.training,
        manifest=read_manifest(row.manifest),
        lineage=_read_lineage(row.lineage),
        result=_read_result(row),
        target=Target(row.target_kind, row.horizon_bars),
        create_time=row.create_time,
        revision=row.revision,
        state_revision=row.state_revision,
        owner=row.owner,
        signature=_read_signature(row.signature),
        details=read_details(row),
        origin=_read_origin(row.origin),
    )


def manifest_json(manifest: Manifest) -> str:
    """Writes a manifest; files keep their order."""
    files = [
        {"path": file.path, "sha256": file.sha256, "size_bytes": file.size_bytes} for file in manifest.files
    ]
    return json.dumps({"digest": manifest.digest, "files": files})


def read_manifest(text: str) -> Manifest:
    """Reads a manifest."""
    document = json.loads(text)
    return Manifest(document["digest"], tuple(ArtifactFile(**file) for file in document["files"]))


def _metrics_json(result: Result) -> str:
    errors = dict(result.errors)
    return json.dumps([[name, value, errors.get(name)] for name, value in result.metrics])


def _read_result(row: Row) -> Result:
    # Releases before 0003 wrote no third element.
    metrics = [(*metric, None)[:3] for metric in json.loads(row.metrics)]
    return Result(
        Verdict(row.verdict),
        tuple((name, value) for name, value, _ in metrics),
        row.report,
        tuple((name, error) for name, _, error in metrics if error is not None),
    )


def _origin_json(origin: ImportOrigin | None) -> str:
    if origin is None:
        return ""
    create_time = origin.create_time.isoformat() if origin.create_time else None
    return json.dumps([origin.source, origin.version, create_time, origin.format, origin.attributes])


def _read_origin(text: str) -> ImportOrigin | None:
    if not text:
        return None
    source, version, create_time, file_format, attributes = json.loads(text)
    return ImportOrigin(
        source,
        version,
        datetime.fromisoformat(create_time) if create_time else None,
        file_format,
        tuple((name, value) for name, value in attributes),
    )


def _signature_json(signature: Signature) -> str:
    if signature == NO_SIGNATURE:
        return ""
    sides = (signature.inputs, signature.outputs)
    return json.dumps([[[column.name, column.data_type] for column in side] for side in sides])


def _read_signature(text: str) -> Signature:
    if not text:
        return NO_SIGNATURE
    inputs, outputs = (tuple(Column(*column) for column in side) for side in json.loads(text))
    return Signature(inputs, outputs)


def details_row(details: Details) -> dict[str, str]:
    """Writes description and tags."""
    return {"description": details.description, "tags": json.dumps(dict(details.tags), sort_keys=True)}


def read_details(row: Row) -> Details:
    """Reads description and tags."""
    return Details(row.description, json.loads(row.tags))


def _lineage_json(lineage: Lineage) -> str:
    as_of_time = lineage.as_of_time.isoformat() if lineage.as_of_time else None
    document = {name: getattr(lineage, name) for name in lineage.__slots__}
    return json.dumps({**document, "as_of_time": as_of_time})


def _read_lineage(text: str) -> Lineage:
    document = json.loads(text)
    as_of_time = document.pop("as_of_time")
    views = tuple(document.pop("feature_view_versions"))
    return Lineage(
        **document,
        feature_view_versions=views,
        as_of_time=datetime.fromisoformat(as_of_time) if as_of_time else None,
    )


def read_alias(row: Row) -> Alias:
    """Reads an alias."""
    return Alias(AliasName(row.model, row.alias), row.number, row.update_time, row.revision)


def move_row(move: AliasMove) -> dict[str, Any]:
    """Writes an entry of an alias's history."""
    return {
        "revision": move.revision,
        "model": move.alias.model,
        "alias": move.alias.alias,
        "from_number": move.from_number,
        "to_number": move.to_number,
        "actor": move.actor,
        "reason": move.reason,
        "move_time": move.move_time,
    }


def read_move(row: Row) -> AliasMove:
    """Reads an entry of an alias's history."""
    return AliasMove(
        alias=AliasName(row.model, row.alias),
        from_number=row.from_number,
        to_number=row.to_number,
        actor=row.actor,
        reason=row.reason,
        move_time=row.move_time,
        revision=row.revision,
    )


def evaluation_row(evaluation: GateEvaluation) -> dict[str, Any]:
    """Writes a gate evaluation."""
    return {
        "revision": evaluation.revision,
        "model": evaluation.version.model,
        "number": evaluation.version.number,
        "alias": evaluation.alias.alias,
        "results": json.dumps([asdict(result) for result in evaluation.results]),
        "evaluate_time": evaluation.evaluate_time,
    }


def read_evaluation(row: Row) -> GateEvaluation:
    """Reads a gate evaluation."""
    return GateEvaluation(
        version=VersionName(row.model, row.number),
        alias=AliasName(row.model, row.alias),
        results=tuple(ConditionResult(**result) for result in json.loads(row.results)),
        evaluate_time=row.evaluate_time,
        revision=row.revision,
    )
