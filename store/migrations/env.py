"""Alembic's entry: runs the revisions on the connection that `store.migrate` hands over."""

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script

from store import migrate
from store.schema import metadata


def _complete(ctx: MigrationContext, step: MigrationInfo, *_: object, **__: object) -> None:
    assert ctx.connection is not None
    assert isinstance(step.up_revision, Script)
    migrate.complete(ctx.connection, step.up_revision)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    on_version_apply=_complete,
)
with context.begin_transaction():
    context.run_migrations()
