"""Metrics outlive their run, without it, until their blocks have been taken away."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

FOREIGN_KEY = "fk_metric_run_id_run"


def upgrade() -> None:
    _refer(ondelete="SET NULL", nullable=True)


def downgrade() -> None:
    op.execute("DELETE FROM block WHERE metric_id IN (SELECT id FROM metric WHERE run_id IS NULL)")
    op.execute("DELETE FROM metric WHERE run_id IS NULL")
    _refer(ondelete="CASCADE", nullable=False)


def _refer(*, ondelete: str, nullable: bool) -> None:
    with op.batch_alter_table("metric") as table:
        table.drop_constraint(FOREIGN_KEY, type_="foreignkey")
        table.alter_column("run_id", existing_type=sa.String(length=32), nullable=nullable)
        table.create_foreign_key(FOREIGN_KEY, "run", ["run_id"], ["id"], ondelete=ondelete)
