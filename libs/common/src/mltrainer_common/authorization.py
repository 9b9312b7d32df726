"""Decides by role who may call which method; what is not listed is denied."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from enum import StrEnum

from google.protobuf.descriptor import ServiceDescriptor


class Role(StrEnum):
    """What a principal may be. `ANYONE` needs no token and is meant for foreign contracts only."""

    TRADER = "trader"
    PRODUCER = "producer"
    OPERATOR = "operator"
    SERVICE = "service"
    VIEWER = "viewer"
    ANYONE = "anyone"


READERS: frozenset[Role] = frozenset(
    {Role.TRADER, Role.PRODUCER, Role.OPERATOR, Role.SERVICE, Role.VIEWER},
)
"""Everybody who holds a token."""

_OPEN_SERVICES = (
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
)


class RoleTable:
    """Roles by full method name, `/package.Service/Method`.

    Health is open to all; so is reflection, which is served in development only.
    """

    def __init__(self, methods: Mapping[str, AbstractSet[Role]]) -> None:
        self._methods = {method: frozenset(roles) for method, roles in methods.items()}

    def roles(self, method: str) -> frozenset[Role]:
        """Returns the roles that may call a method; empty when it is not listed."""
        if method.startswith(_OPEN_SERVICES):
            return frozenset({Role.ANYONE})
        return self._methods.get(method, frozenset())

    def __contains__(self, method: str) -> bool:
        """Tells whether a method is listed."""
        return method in self._methods

    def __or__(self, other: "RoleTable") -> "RoleTable":
        """Joins the tables of two contracts."""
        return RoleTable(self._methods | other._methods)


def unlisted_methods(services: Iterable[ServiceDescriptor], table: RoleTable) -> list[str]:
    """Lists the methods of contracts that no role may call; each service's test expects none."""
    names = (f"/{service.full_name}/{method.name}" for service in services for method in service.methods)
    return [name for name in names if name not in table]
