"""Says who calls."""

from mltrainer_common.rpc_server import current_call


def actor() -> str:
    """Returns the subject of the caller's token."""
    principal = current_call().principal
    return principal.subject if principal else ""
