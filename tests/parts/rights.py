"""Deny rules on a broker with an authorizer, for the user that comes in by a password."""

import asyncio
from typing import Any, Literal

import confluent_kafka.admin

from testbed import kafka

Kind = Literal["topic", "group"]

# its types name a part of what it has
_admin: Any = confluent_kafka.admin


class Rights:
    def __init__(self, servers: str) -> None:
        """Of the broker at `servers`, which lets us in there as a superuser."""
        self._client = _admin.AdminClient({"bootstrap.servers": servers, "log_level": 0})

    async def revoke(self, kind: Kind, name: str, operation: str = "READ") -> None:
        """The user may not do that any more."""
        await self._rule(kind, name, operation, "DENY")

    async def allow(self, kind: Kind, name: str, operation: str) -> None:
        """The user may do that still, where another right is taken: a rule of any kind ends the freedom to do all."""
        await self._rule(kind, name, operation, "ALLOW")

    async def give_back(self, kind: Kind, name: str) -> None:
        """All that was taken."""
        rules = _admin.AclBindingFilter(*self._of(kind, name), None, None, *self._what("ANY", "ANY"))
        for done in self._client.delete_acls([rules]).values():
            await asyncio.to_thread(done.result, 20)

    async def _rule(self, kind: Kind, name: str, operation: str, permission: str) -> None:
        user = f"User:{kafka.USER}"
        rule = _admin.AclBinding(*self._of(kind, name), user, "*", *self._what(operation, permission))
        for done in self._client.create_acls([rule]).values():
            await asyncio.to_thread(done.result, 20)

    def _of(self, kind: Kind, name: str) -> tuple[Any, ...]:
        return _admin.ResourceType[kind.upper()], name, _admin.ResourcePatternType.LITERAL

    def _what(self, operation: str, permission: str) -> tuple[Any, ...]:
        return _admin.AclOperation[operation], _admin.AclPermissionType[permission]
