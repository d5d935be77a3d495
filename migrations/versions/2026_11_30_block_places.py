"""All that a chart asks of blocks before it reads them, in one index: a lookup of each block's row took longer."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

BEFORE = ["metric_id", "level", "attempt", "first_step"]


def upgrade() -> None:
    op.drop_index("ix_block_place", table_name="block")
    op.create_index("ix_block_place", "block", [*BEFORE, "last_step", "layout", "rows", "width", "sealed"])


def downgrade() -> None:
    op.drop_index("ix_block_place", table_name="block")
    op.create_index("ix_block_place", "block", BEFORE)
