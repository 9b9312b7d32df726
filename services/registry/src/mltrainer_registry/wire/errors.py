"""Answers the registry's refusals with codes, stable reasons and one helpful sentence."""

from grpc import StatusCode
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError
from mltrainer_common.errors import FieldViolation, RpcError

from mltrainer_registry.domain import errors
from mltrainer_registry.wire.times import time_text


def to_rpc_error(error: Exception) -> RpcError | None:
    """Returns the answer to an error; None for one that is not the registry's."""
    if isinstance(error, errors.RegistryError):
        kinds = (_missing, _race, _state, _governance, _delivery, _input, _limit, _upload)
        return next((answer for kind in kinds if (answer := kind(error)) is not None), None)
    match error:
        case DatabaseUnavailableError():
            message = "the registry's database cannot be reached now"
            return RpcError(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", message, retry_after_s=1.0)
        case DatabaseConflictError():
            return RpcError(StatusCode.ABORTED, "LOST_RACE", "another request won; send this one again")
    return None


def _missing(error: errors.RegistryError) -> RpcError | None:
    match error:
        case errors.ModelNotFoundError(name=name):
            return _refuse("NOT_FOUND", "MODEL_NOT_FOUND", f"{name} does not exist", name=name)
        case errors.VersionNotFoundError(name=name):
            return _refuse("NOT_FOUND", "VERSION_NOT_FOUND", f"{name} does not exist", name=name)
        case errors.AliasNotFoundError(name=name, as_of_time=None):
            return _refuse("NOT_FOUND", "ALIAS_NOT_FOUND", f"{name} points nowhere", name=name)
        case errors.AliasNotFoundError(name=name, as_of_time=time) if time is not None:
            as_of = time_text(time)
            message = f"{name} did not point anywhere yet at {as_of}"
            return _refuse("NOT_FOUND", "ALIAS_NOT_FOUND", message, name=name, as_of=as_of)
        case errors.FileNotInManifestError(version=version, path=path):
            message = f"{version} has no file {path}"
            return _refuse("NOT_FOUND", "FILE_NOT_FOUND", message, version=version, path=path)
    return None


def _race(error: errors.RegistryError) -> RpcError | None:
    match error:
        case errors.StaleEtagError(name=name, etag=etag):
            message = f"{name} has changed since etag {etag}: read it again"
            return _refuse("ABORTED", "STALE_ETAG", message, name=name, etag=etag)
        case errors.AliasMovedError(name=name, expected=expected, present=present):
            message = f"{name} points to {present or 'no version'}, not to {expected or 'no version'}"
            facts = {"name": name, "expected_version": expected, "version": present}
            return _refuse("ABORTED", "ALIAS_MOVED", message, **facts)
    return None


def _state(error: errors.RegistryError) -> RpcError | None:
    code = "FAILED_PRECONDITION"
    match error:
        case errors.GateNotPassedError(alias=alias, version=version, failed_conditions=failed, detail=detail):
            message = f"{version} does not pass the gate of {alias}: {detail}"
            facts = {"alias": alias, "version": version, "failed_conditions": ",".join(failed)}
            return _refuse(code, "GATE_NOT_PASSED", message, **facts, detail=detail)
        case errors.VersionArchivedError(name=name):
            return _refuse(code, "VERSION_ARCHIVED", f"{name} is archived", name=name)
        case errors.VersionHasAliasError(name=name, aliases=aliases):
            listed = ", ".join(aliases)
            message = f"{listed} points to {name}: move it first"
            return _refuse(code, "VERSION_HAS_ALIAS", message, name=name, aliases=listed)
        case errors.NoEarlierVersionError(name=name):
            message = f"{name} has pointed to one version only"
            return _refuse(code, "NO_EARLIER_VERSION", message, name=name)
    return None


def _governance(error: errors.RegistryError) -> RpcError | None:
    match error:
        case errors.PolicyNotFoundError(name=name):
            return _refuse("NOT_FOUND", "POLICY_NOT_FOUND", f"{name} was never set", name=name)
        case errors.PromotionNotFoundError(name=name):
            return _refuse("NOT_FOUND", "PROMOTION_NOT_FOUND", f"{name} does not exist", name=name)
        case errors.PromotionDecidedError(name=name, state=state):
            message = f"{name} is {state.lower()} already"
            return _refuse("FAILED_PRECONDITION", "PROMOTION_DECIDED", message, name=name, state=state)
        case errors.OwnPromotionError(name=name, approver=approver):
            message = (
                f"{approver or 'nobody'} cannot approve {name}: it takes somebody who did not ask for it"
            )
            return _refuse("PERMISSION_DENIED", "OWN_PROMOTION", message, name=name, approver=approver)
        case errors.InvalidFilterError(position=position, description=description):
            message = f"the filter {description} (at character {position})"
            facts = {"position": str(position), "description": description}
            return _refuse("INVALID_ARGUMENT", "INVALID_FILTER", message, **facts)
    return None


def _delivery(error: errors.RegistryError) -> RpcError | None:
    code = "FAILED_PRECONDITION"
    match error:
        case errors.StaleFencingTokenError(training=training, fencing_token=token, lowest_accepted=lowest):
            message = f"{training} accepts fencing tokens from {lowest} on, not {token}"
            facts = {"training": training, "fencing_token": str(token), "lowest_accepted": str(lowest)}
            return _refuse(code, "STALE_FENCING_TOKEN", message, **facts)
        case errors.ManifestNotUploadedError(training=training, manifest_digest=digest):
            message = f"{training} has not uploaded a manifest {digest}"
            facts = {"training": training, "manifest_digest": digest}
            return _refuse(code, "MANIFEST_NOT_UPLOADED", message, **facts)
        case errors.TrainingHasVersionError(training=training, version=version):
            message = f"{training} has made {version} already, which is another model or of other files"
            return _refuse(
                "ALREADY_EXISTS", "TRAINING_HAS_VERSION", message, training=training, version=version
            )
        case errors.ArtifactAlteredError(sha256=sha256):
            message = f"the stored bytes of {sha256} are lost or altered"
            return _refuse("DATA_LOSS", "ARTIFACT_ALTERED", message, sha256=sha256)
    return None


def _input(error: errors.RegistryError) -> RpcError | None:
    code = "INVALID_ARGUMENT"
    match error:
        case errors.InvalidFieldError(field=field, description=description):
            violation = FieldViolation(field, description)
            message = f"{field} {description}"
            return RpcError(
                StatusCode.INVALID_ARGUMENT,
                "INVALID_FIELD",
                message,
                metadata={"field": field, "description": description},
                field_violations=[violation],
            )
        case errors.RequestIdReusedError(request_id=request_id):
            message = f"request id {request_id} has answered another request: use a new one"
            return _refuse(code, "REQUEST_ID_REUSED", message, request_id=request_id)
        case errors.ArtifactDigestMismatchError(subject=subject, expected=expected):
            message = f"{subject} does not have the digest {expected}"
            return _refuse(code, "DIGEST_MISMATCH", message, subject=subject, expected=expected)
        case errors.InvalidArtifactPathError(path=path, why=why):
            message = f"{path!r} cannot be a path of a manifest: {why}"
            return _refuse(code, "INVALID_ARTIFACT_PATH", message, path=path, why=why)
        case errors.InvalidUploadError(detail=detail):
            return _refuse(code, "INVALID_UPLOAD", detail, detail=detail)
    return None


def _limit(error: errors.RegistryError) -> RpcError | None:
    code = "RESOURCE_EXHAUSTED"
    match error:
        case errors.ArtifactTooLargeError(size_bytes=size, limit_bytes=limit):
            message = f"the files hold {size} bytes together, more than {limit}"
            facts = {"size_bytes": str(size), "limit_bytes": str(limit)}
            return _refuse(code, "ARTIFACT_TOO_LARGE", message, **facts)
        case errors.WatcherTooSlowError(seen_revision=seen):
            message = f"changes come faster than they are read: watch again from revision {seen}"
            return _refuse(code, "WATCHER_TOO_SLOW", message, seen_revision=str(seen))
        case errors.RevisionNotReachedError(min_revision=wanted, revision=known):
            message = f"this replica knows revision {known}, not yet {wanted}: ask again"
            facts = {"min_revision": str(wanted), "revision": str(known)}
            return _refuse("DEADLINE_EXCEEDED", "REVISION_NOT_REACHED", message, **facts)
        case errors.RevisionPrunedError(revision=revision, pruned_revision=pruned):
            message = f"changes up to {pruned} are forgotten, not only up to {revision}: watch from 0"
            facts = {"revision": str(revision), "pruned_revision": str(pruned)}
            return _refuse("OUT_OF_RANGE", "REVISION_PRUNED", message, **facts)
        case errors.TooManyWatchersError(limit=limit):
            message = f"this instance follows {limit} watchers already: try another one"
            return _refuse(code, "TOO_MANY_WATCHERS", message, limit=str(limit))
    return None


def _upload(error: errors.RegistryError) -> RpcError | None:
    code = "RESOURCE_EXHAUSTED"
    match error:
        case errors.FileTooLargeError(path=path, size_bytes=size, limit_bytes=limit):
            message = f"{path} holds {size} bytes, more than {limit}"
            facts = {"path": path, "size_bytes": str(size), "limit_bytes": str(limit)}
            return _refuse(code, "FILE_TOO_LARGE", message, **facts)
        case errors.ModelQuotaExceededError(
            model=model, used_bytes=used, added_bytes=added, limit_bytes=limit
        ):
            holder = f"models/{model}" if model else "what names no model"
            message = f"{holder} holds {used} bytes of {limit}: {added} more do not fit"
            facts = {"used_bytes": str(used), "added_bytes": str(added), "limit_bytes": str(limit)}
            return _refuse(code, "MODEL_QUOTA_EXCEEDED", message, model=holder, **facts)
        case errors.UploadIncompleteError(path=path, first_missing_part=first, missing_count=count):
            parts = "1 part" if count == 1 else f"{count} parts"
            message = f"{path} lacks {parts}, from number {first} on: ask GetUpload what is held"
            facts = {"path": path, "first_missing_part": str(first), "missing_count": str(count)}
            return _refuse("FAILED_PRECONDITION", "UPLOAD_INCOMPLETE", message, **facts)
        case errors.UploadExpiredError(training=training, manifest_digest=digest):
            message = f"files of {training} were given up before its upload was complete: upload them again"
            return _refuse("ABORTED", "UPLOAD_EXPIRED", message, training=training, manifest_digest=digest)
        case errors.OffsetOutOfRangeError(path=path, offset_bytes=offset, size_bytes=size):
            message = f"{path} has {size} bytes: a download cannot begin at {offset}"
            facts = {"path": path, "offset_bytes": str(offset), "size_bytes": str(size)}
            return _refuse("OUT_OF_RANGE", "OFFSET_OUT_OF_RANGE", message, **facts)
    return None


def _refuse(code: str, reason: str, message: str, **facts: str) -> RpcError:
    return RpcError(StatusCode[code], reason, message, metadata=facts)
