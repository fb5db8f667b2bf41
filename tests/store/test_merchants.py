"""Merchants and their endpoints, as an import of a merchants file writes them."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.sealing import BUILT_IN_KEYS
from schemas.signature import secret
from store import merchants
from tests.store.outbox import Outbox, sealed

NEW, FORMER = secret(b"n" * 32), secret(b"f" * 32)


@pytest.mark.parametrize(("imported", "secrets"), [(NEW, [NEW, FORMER]), (FORMER, [FORMER])])
async def test_an_import_with_the_current_secret_keeps_the_former_one_while_secrets_rotate(
    engine: AsyncEngine, imported: str, secrets: list[str]
) -> None:
    outbox = Outbox(engine)
    await outbox.add_endpoint("m", secrets=[NEW, FORMER])
    ((stored,),) = await outbox.execute("SELECT sealed_secrets FROM endpoints")
    given = stored[0] if imported == NEW else sealed(imported, "m")
    endpoint = merchants.NewEndpoint("m", "m", "http://127.0.0.1:9/", given, ["PAYMENT_METHOD_DELETED"])
    async with engine.begin() as connection:
        assert await merchants.put(connection, [("m", "m")], [endpoint]) == []
    ((stored,),) = await outbox.execute("SELECT sealed_secrets FROM endpoints")
    assert [BUILT_IN_KEYS.open(one, "secret", "m") for one in stored] == secrets
