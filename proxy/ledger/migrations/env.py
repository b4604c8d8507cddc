"""How Alembic reaches the database: over the connection that the caller gives it."""

from alembic import context

from proxy.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
