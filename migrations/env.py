"""Runs the revisions on the connection that `app.storage.migrate` passes in."""

from alembic import context

from app.storage import tables
from app.storage.base import Base, UtcDateTime

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("migrations run through app.storage.migrate, which passes a connection; see docs/storage.md")
assert tables.Run.__tablename__ in Base.metadata.tables


def _render(kind: str, item: object, _: object) -> str | bool:
    # A revision must not change when the code does, so it names plain types.
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


# batch: SQLite cannot alter most things, so a table is rebuilt; transactional: all of it or nothing, there too
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,
    compare_type=True,
    render_item=_render,
)
with context.begin_transaction():
    context.run_migrations()
