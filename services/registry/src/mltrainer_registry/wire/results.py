"""Decodes what attempts report about their versions."""

from typing import Any

from mltrainer.trainer.v1 import resources_pb2 as trainer
from mltrainer.types.v1 import types_pb2 as types

from mltrainer_registry.domain.errors import InvalidFieldError
from mltrainer_registry.domain.names import parse_version
from mltrainer_registry.domain.versions import Column, Lineage, Result, Signature, Target, Verdict
from mltrainer_registry.wire.times import from_timestamp


def decode_lineage(lineage: trainer.Lineage) -> Lineage:
    """Decodes where a version comes from.

    Raises:
        InvalidFieldError: A text holds a character that no database stores.
    """
    _check_texts(lineage)
    return Lineage(
        training=lineage.training,
        attempt=lineage.attempt,
        study=lineage.study,
        dataset=lineage.dataset,
        dataset_sha256=lineage.dataset_sha256,
        feature_view_versions=tuple(lineage.feature_view_versions),
        code_digest=lineage.code_digest,
        environment_digest=lineage.environment_digest,
        computation_key=lineage.computation_key,
        as_of_time=from_timestamp(lineage.as_of, "lineage.as_of") if lineage.HasField("as_of") else None,
        parent_version=_parent(lineage.parent_version),
    )


def decode_result(result: trainer.AttemptResult) -> Result:
    """Decodes what an attempt found."""
    verdict = _name(types.Verdict, result.verdict, "result.verdict").removeprefix("VERDICT_")
    metrics = tuple((metric.name, metric.value) for metric in result.metrics)
    errors = tuple(
        (metric.name, metric.standard_error) for metric in result.metrics if metric.HasField("standard_error")
    )
    return Result(Verdict(verdict), metrics, result.SerializeToString(deterministic=True), errors)


def decode_signature(signature: trainer.ModelSignature) -> Signature:
    """Decodes the columns that a version reads and answers."""
    inputs, outputs = (
        tuple(Column(column.name, column.data_type) for column in side)
        for side in (signature.inputs, signature.outputs)
    )
    return Signature(inputs, outputs)


def _parent(name: str) -> str:
    return str(parse_version(name, "lineage.parent_version")) if name else ""


def decode_target(target: types.Target) -> Target:
    """Decodes what a version predicts."""
    kind = _name(types.TargetKind, target.kind, "target.kind").removeprefix("TARGET_KIND_")
    return Target(kind, target.horizon_bars)


def _name(kind: Any, number: int, field: str) -> str:
    try:
        name: str = kind.Name(number)
    except ValueError as error:
        raise InvalidFieldError(field, f"is {number}, which this release does not know") from error
    return name


def _check_texts(lineage: trainer.Lineage) -> None:
    if b"\0" not in lineage.SerializeToString():
        return
    for field, value in lineage.ListFields():
        texts = [value] if isinstance(value, str) else value if field.name == "feature_view_versions" else ()
        if any("\0" in text for text in texts):
            raise InvalidFieldError(f"lineage.{field.name}", "holds a NUL character")
