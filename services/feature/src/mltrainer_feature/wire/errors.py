"""Maps this service's errors to answers."""

from grpc import StatusCode
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError
from mltrainer_common.errors import FieldViolation, RpcError

from mltrainer_feature.domain import errors


def to_rpc_error(error: Exception) -> RpcError | None:
    """Returns the answer to an error; None for one that nobody foresaw."""
    match error:
        case errors.InvalidRequestError():
            return _invalid(error)
        case errors.UnknownFeatureViewError():
            metadata = {"feature_view": error.reference, "known": ",".join(error.known)}
            return RpcError(
                StatusCode.INVALID_ARGUMENT, "UNKNOWN_FEATURE_VIEW", str(error), metadata=metadata
            )
        case errors.UnknownSymbolError():
            metadata = {"symbols": ",".join(error.symbols)}
            return RpcError(StatusCode.INVALID_ARGUMENT, "UNKNOWN_SYMBOL", str(error), metadata=metadata)
        case errors.AsOfInFutureError():
            metadata = {"as_of": error.as_of.isoformat(), "market_time": error.now.isoformat()}
            return RpcError(StatusCode.INVALID_ARGUMENT, "AS_OF_IN_FUTURE", str(error), metadata=metadata)
        case errors.UnreadableBarsError():
            return RpcError(StatusCode.INVALID_ARGUMENT, "UNREADABLE_BARS", str(error))
    return _missing(error) or _unknown(error) or _unavailable(error)


def _invalid(error: errors.InvalidRequestError) -> RpcError:
    match error:
        case errors.InvalidDatasetSpecError():
            reason = "INVALID_DATASET_SPEC"
        case errors.InvalidDefinitionsError():
            reason = "INVALID_DEFINITIONS"
        case _:
            reason = "INVALID_REQUEST"
    return RpcError(
        StatusCode.INVALID_ARGUMENT,
        reason,
        str(error),
        field_violations=[FieldViolation(item.field, item.description) for item in error.violations],
    )


def _missing(error: Exception) -> RpcError | None:
    match error:
        case errors.ResourceNotFoundError():
            metadata = {"kind": error.kind, "name": error.name}
            return RpcError(StatusCode.NOT_FOUND, "NOT_FOUND", str(error), metadata=metadata)
        case errors.BytesNotFoundError():
            metadata = {"sha256": error.sha256}
            return RpcError(StatusCode.FAILED_PRECONDITION, "BYTES_NOT_FOUND", str(error), metadata=metadata)
        case errors.FeatureViewRemovedError():
            metadata = {"feature_view": error.view}
            return RpcError(
                StatusCode.FAILED_PRECONDITION, "FEATURE_VIEW_REMOVED", str(error), metadata=metadata
            )
        case errors.FeatureListRemovedError():
            metadata = {"feature_service": error.name, "feature_views": ",".join(error.views)}
            return RpcError(
                StatusCode.FAILED_PRECONDITION, "FEATURE_SERVICE_REMOVED", str(error), metadata=metadata
            )
    return None


def _unknown(error: Exception) -> RpcError | None:
    match error:
        case errors.UnknownFeatureError():
            metadata = {"feature": error.reference}
            return RpcError(StatusCode.INVALID_ARGUMENT, "UNKNOWN_FEATURE", str(error), metadata=metadata)
        case errors.UnknownFeatureServiceError():
            metadata = {"feature_service": error.name, "known": ",".join(error.known)}
            return RpcError(
                StatusCode.INVALID_ARGUMENT, "UNKNOWN_FEATURE_SERVICE", str(error), metadata=metadata
            )
        case errors.UnknownEntityError():
            metadata = {"entity": error.name, "known": ",".join(error.known)}
            return RpcError(StatusCode.INVALID_ARGUMENT, "UNKNOWN_ENTITY", str(error), metadata=metadata)
        case errors.ReferencesUnknownError():
            metadata = {"service": error.service}
            return RpcError(
                StatusCode.UNAVAILABLE,
                "REFERENCES_UNKNOWN",
                str(error),
                metadata=metadata,
                retry_after_s=60.0,
            )
        case errors.UnreadableRegistryError():
            return RpcError(StatusCode.FAILED_PRECONDITION, "UNREADABLE_REGISTRY", str(error))
    return None


def _unavailable(error: Exception) -> RpcError | None:
    match error:
        case DatabaseUnavailableError():
            message = "the database cannot serve now"
            return RpcError(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", message, retry_after_s=1.0)
        case errors.OnlineStoreLostError():
            metadata = {"project": error.project}
            return RpcError(
                StatusCode.UNAVAILABLE,
                "ONLINE_STORE_LOST",
                str(error),
                metadata=metadata,
                retry_after_s=1.0,
            )
        case errors.OnlineStoreError():
            return RpcError(StatusCode.UNAVAILABLE, "ONLINE_STORE_UNAVAILABLE", str(error), retry_after_s=1.0)
        case errors.DefinitionsChangedError():
            metadata = {"etag": error.etag}
            return RpcError(StatusCode.ABORTED, "DEFINITIONS_CHANGED", str(error), metadata=metadata)
        case DatabaseConflictError():
            message = "another write came first: send the request again"
            return RpcError(StatusCode.ABORTED, "WRITE_CONFLICT", message)
    return None
