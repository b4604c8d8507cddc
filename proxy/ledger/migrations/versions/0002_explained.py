"""What a call was refused with, and the model that it asked for before a rule had another one asked for."""

from alembic import op
from sqlalchemy import Column, String, Text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("calls", Column("asked_model", String(256), nullable=False, server_default=""))
    op.add_column("calls", Column("refusal", Text, nullable=False, server_default="{}"))


def downgrade() -> None:
    for column in ("refusal", "asked_model"):
        op.drop_column("calls", column)
