"""How Alembic runs here: on the connection it is given by `storage.migrate`, which holds the lock."""

from __future__ import annotations

from alembic import context

from gproxy.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter most things in place
)
# The caller's transaction is the transaction.
context.run_migrations()
