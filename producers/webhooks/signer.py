"""The headers of an endpoint's webhooks: signatures with its secrets, and its own."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self
from uuid import UUID

from schemas import endpoint_headers
from schemas.sealing import Keys
from schemas.signature import event_id, signature
from schemas.signing_keys import SigningKeys
from store.deliveries import ClaimedEndpoint

_NO_HEADERS: Mapping[str, str] = {}


class Signer(NamedTuple):
    """Opened once for all deliveries of an endpoint that were claimed together."""

    endpoint_id: str
    secrets: Sequence[str]
    own_headers: Mapping[str, str]
    signing_keys: SigningKeys

    def __repr__(self) -> str:
        """Without the secrets and the headers."""
        return f"Signer(endpoint_id={self.endpoint_id!r})"

    @classmethod
    def open(cls, endpoint_id: str, endpoint: ClaimedEndpoint, *, keys: Keys, signing_keys: SigningKeys) -> Self:
        """Open the endpoint's secrets and headers with `keys`. Raises CannotOpen."""
        secrets = [keys.open(sealed, "secret", endpoint_id) for sealed in endpoint.sealed_secrets]
        own_headers = _NO_HEADERS
        if endpoint.sealed_headers is not None:
            own_headers = endpoint_headers.read(keys.open(endpoint.sealed_headers, "headers", endpoint_id))
        return cls(endpoint_id, secrets, own_headers, signing_keys)

    def headers(self, event: UUID, timestamp: int, body: bytes) -> dict[str, str] | None:
        """The headers of a Standard Webhook, and the endpoint's own; None if a secret of the endpoint cannot sign."""
        id_ = event_id(event)
        try:
            signatures = signature(self.secrets, id_, timestamp, body)
        except ValueError:
            return None
        if self.signing_keys:
            signatures = " ".join([signatures, *self.signing_keys.signatures(self.endpoint_id, id_, timestamp, body)])
        return {
            "webhook-id": id_,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signatures,
            **self.own_headers,
        }
