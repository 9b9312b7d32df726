"""Decodes requests into commands and names."""

import base64
import binascii
from datetime import timedelta

from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer.registry.v1 import resources_pb2 as resources

from mltrainer_registry.application.archive_version import ArchiveVersion
from mltrainer_registry.application.create_version import CreateVersion
from mltrainer_registry.application.move_alias import MoveAlias, RollBackAlias
from mltrainer_registry.application.upload_artifact import FilePiece, UploadArtifact
from mltrainer_registry.domain.aliases import Motive
from mltrainer_registry.domain.errors import InvalidFieldError, InvalidUploadError
from mltrainer_registry.domain.imports import ImportOrigin, check_origin
from mltrainer_registry.domain.manifests import ArtifactFile
from mltrainer_registry.domain.names import check_training, parse_alias, parse_model, parse_version
from mltrainer_registry.wire.results import decode_lineage, decode_result, decode_signature, decode_target
from mltrainer_registry.wire.texts import MAX_ID_LENGTH, MAX_TEXT_LENGTH, short
from mltrainer_registry.wire.times import from_timestamp

_DEFAULT_PAGE_SIZE = 100
_MAX_PAGE_SIZE = 1_000


def to_move_alias(request: api.MoveAliasRequest, actor: str) -> MoveAlias:
    """Decodes a MoveAliasRequest."""
    expected = request.expected_version
    return MoveAlias(
        name=parse_alias(request.name),
        version=parse_version(request.version, "version"),
        expected=parse_version(expected, "expected_version") if expected else None,
        motive=Motive(actor, short(request.reason, "reason", MAX_TEXT_LENGTH)),
        request_id=short(request.request_id, "request_id", MAX_ID_LENGTH),
    )


def to_roll_back_alias(request: api.RollBackAliasRequest, actor: str) -> RollBackAlias:
    """Decodes a RollBackAliasRequest."""
    expected = request.expected_version
    return RollBackAlias(
        name=parse_alias(request.name),
        expected=parse_version(expected, "expected_version") if expected else None,
        motive=Motive(actor, short(request.reason, "reason", MAX_TEXT_LENGTH)),
        request_id=short(request.request_id, "request_id", MAX_ID_LENGTH),
    )


def to_create_version(request: api.CreateModelVersionRequest) -> CreateVersion:
    """Decodes a CreateModelVersionRequest."""
    version = request.model_version
    return CreateVersion(
        event_id="",
        training=check_training(version.training, "model_version.training"),
        fencing_token=request.fencing_token,
        model=parse_model(request.parent, "parent"),
        manifest_digest=version.manifest.digest,
        lineage=decode_lineage(version.lineage),
        result=decode_result(version.result),
        target=decode_target(version.target),
        propose_alias="",
        owner=version.owner,
        signature=decode_signature(version.result.signature),
        origin=_origin(version.origin) if version.HasField("origin") else None,
    )


def _origin(origin: resources.Origin) -> ImportOrigin:
    field = "model_version.origin"
    decoded = ImportOrigin(
        source=origin.source,
        version=origin.version,
        create_time=from_timestamp(origin.create_time, "model_version.origin.create_time")
        if origin.HasField("create_time")
        else None,
        format=origin.format,
        attributes=tuple(sorted(origin.attributes.items())),
    )
    return check_origin(decoded, field)


def to_archive_version(request: api.ArchiveModelVersionRequest) -> ArchiveVersion:
    """Decodes an ArchiveModelVersionRequest."""
    return ArchiveVersion(parse_version(request.name), request.etag)


def to_upload_artifact(request: api.UploadArtifactRequest | None) -> UploadArtifact:
    """Decodes the first message of an upload."""
    if request is None or request.WhichOneof("part") != "header":
        raise InvalidUploadError("the first message is not a header")
    return to_upload(request.header)


def to_upload(header: api.UploadHeader) -> UploadArtifact:
    """Decodes the header of an upload."""
    return UploadArtifact(
        training=check_training(header.training, "header.training"),
        fencing_token=header.fencing_token,
        files=tuple(ArtifactFile(file.path, file.sha256, file.size_bytes) for file in header.manifest.files),
        manifest_digest=header.manifest.digest,
        model=parse_model(header.model, "header.model") if header.model else "",
    )


def to_file_piece(request: api.UploadArtifactRequest) -> FilePiece:
    """Decodes a message of an upload after the first."""
    if request.WhichOneof("part") != "chunk":
        raise InvalidUploadError("a message after the first is not a chunk")
    chunk = request.chunk
    offset_bytes = chunk.offset_bytes if chunk.HasField("offset_bytes") else None
    return FilePiece(chunk.file_index, chunk.data, offset_bytes)


def to_grace(request: api.CollectGarbageRequest) -> timedelta | None:
    """Decodes the grace period of a CollectGarbageRequest; None where it is unset."""
    return request.grace.ToTimedelta() if request.HasField("grace") else None


def page_limit(page_size: int) -> int:
    """Returns how many items a page holds."""
    if not 0 <= page_size <= _MAX_PAGE_SIZE:
        raise InvalidFieldError("page_size", f"is {page_size}, not 1 to {_MAX_PAGE_SIZE}")
    return page_size or _DEFAULT_PAGE_SIZE


def to_cursor(page_token: str) -> str:
    """Decodes a page token."""
    try:
        return base64.b64decode(page_token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidFieldError("page_token", "is not the next_page_token of this list") from error


def to_page_token(cursor: str) -> str:
    """Encodes a cursor."""
    return base64.urlsafe_b64encode(cursor.encode()).decode()
