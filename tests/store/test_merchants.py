"""Merchants and their endpoints, as an import of a merchants file writes them."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.signature import secret
from store import merchants
from tests.store.outbox import Outbox

NEW, FORMER = secret(b"n" * 32), secret(b"f" * 32)


@pytest.mark.parametrize(("imported", "secrets"), [(NEW, [NEW, FORMER]), (FORMER, [FORMER])])
async def test_an_import_with_the_current_secret_keeps_the_former_one_while_secrets_rotate(
    engine: AsyncEngine, imported: str, secrets: list[str]
) -> None:
    outbox = Outbox(engine)
    await outbox.add_endpoint("m", secrets=[NEW, FORMER])
    endpoint = merchants.NewEndpoint("m", "m", "http://127.0.0.1:9/", imported, ["PAYMENT_METHOD_DELETED"])
    async with engine.begin() as connection:
        assert await merchants.put(connection, [("m", "m")], [endpoint]) == []
    ((stored,),) = await outbox.execute("SELECT secrets FROM endpoints")
    assert stored == secrets
