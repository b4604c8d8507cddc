"""The first schema: calls and charges apart, with everything that later parts need and cannot add cheaply."""

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, String, Text, UniqueConstraint

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Big = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "calls",
        Column("call_id", String(64), primary_key=True),
        Column("at", Big, nullable=False),
        Column("node", String(128), nullable=False),
        Column("team", String(128), nullable=False),
        Column("key_id", String(64), nullable=False),
        Column("user", String(256), nullable=False),
        Column("category", String(128), nullable=False),
        Column("tags", Text, nullable=False),
        Column("trace_id", String(128), nullable=False),
        Column("operation", String(32), nullable=False),
        Column("method", String(16), nullable=False),
        Column("path", String(512), nullable=False),
        Column("dialect", String(32), nullable=False),
        Column("provider", String(128), nullable=False),
        Column("model", String(256), nullable=False),
        Column("served_model", String(256), nullable=False),
        Column("service_tier", String(32), nullable=False),
        Column("stream", Integer, nullable=False),
        Column("batch_size", Integer, nullable=False),
        Column("policy_version", String(64), nullable=False),
        Column("price_version", String(256), nullable=False),
        Column("verdict", String(32), nullable=False),
        Column("rule_ids", Text, nullable=False),
        Column("shadow_ids", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("error_type", String(64), nullable=False),
        Column("estimate_expected_nanos", Big, nullable=False),
        Column("estimate_ceiling_nanos", Big, nullable=False),
        Column("estimate_confidence", String(16), nullable=False),
        Column("estimate_basis", Text, nullable=False),
        Column("estimate_input_tokens", Big, nullable=False),
        Column("estimate_output_tokens", Big, nullable=False),
        Column("held_nanos", Big, nullable=False),
        Column("limits", Text, nullable=False),
        Column("status", Integer, nullable=False),
        Column("upstream_status", Integer, nullable=False),
        Column("provider_id", String(256), nullable=False),
        Column("outcome", String(32), nullable=False),
        Column("success", Integer, nullable=False),
        Column("request_bytes", Big, nullable=False),
        Column("response_bytes", Big, nullable=False),
        Column("waited_us", Big, nullable=False),
        Column("ttft_us", Big, nullable=False),
        Column("duration_us", Big, nullable=False),
        Column("flags", Text, nullable=False),
    )
    op.create_index("calls_by_time", "calls", ["at"])
    op.create_index("calls_by_key", "calls", ["key_id", "at"])
    op.create_index("calls_by_team", "calls", ["team", "at"])
    op.create_index("calls_by_model", "calls", ["provider", "model", "at"])
    op.create_table(
        "charges",
        Column("charge_id", Big, primary_key=True, autoincrement=True),
        Column("call_id", String(64), ForeignKey("calls.call_id"), nullable=False),
        Column("seq", Integer, nullable=False),
        Column("at", Big, nullable=False),
        Column("nanos", Big, nullable=False),
        Column("basis", String(16), nullable=False),
        Column("price_version", String(256), nullable=False),
        Column("flags", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("input_tokens", Big, nullable=False),
        Column("cache_read_tokens", Big, nullable=False),
        Column("cache_write_tokens", Big, nullable=False),
        Column("output_tokens", Big, nullable=False),
        Column("reasoning_tokens", Big, nullable=False),
        Column("usage", Text, nullable=False),
        UniqueConstraint("call_id", "seq"),
    )
    op.create_index("charges_by_time", "charges", ["at"])
    op.create_table(
        "rollups",
        Column("scope_kind", String(16), primary_key=True),
        Column("scope_name", String(256), primary_key=True),
        Column("quarter", Integer, primary_key=True),
        Column("nanos", Big, nullable=False),
        Column("unreported_nanos", Big, nullable=False),
        Column("calls", Big, nullable=False),
        Column("input_tokens", Big, nullable=False),
        Column("output_tokens", Big, nullable=False),
    )
    op.create_table(
        "deferred",
        Column("provider", String(128), primary_key=True),
        Column("object_id", String(256), primary_key=True),
        Column("call_id", String(64), nullable=False),
        Column("state", String(16), nullable=False),
        Column("at", Big, nullable=False),
        Column("next_at", Big, nullable=False),
        Column("facts", Text, nullable=False),
    )
    op.create_index("deferred_due", "deferred", ["state", "next_at"])
    op.create_table(
        "outbox",
        Column("alert_id", Big, primary_key=True, autoincrement=True),
        Column("key", String(512), nullable=False, unique=True),
        Column("kind", String(64), nullable=False),
        Column("level", String(16), nullable=False),
        Column("at", Big, nullable=False),
        Column("scope_kind", String(16), nullable=False),
        Column("scope_name", String(256), nullable=False),
        Column("message", Text, nullable=False),
        Column("facts", Text, nullable=False),
        Column("state", String(16), nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("next_at", Big, nullable=False),
        Column("last_error", Text, nullable=False),
    )
    op.create_index("outbox_due", "outbox", ["state", "next_at"])
    op.create_table(
        "audit",
        Column("node", String(128), primary_key=True),
        Column("seq", Big, primary_key=True),
        Column("at", Big, nullable=False),
        Column("event", String(128), nullable=False),
        Column("actor", String(128), nullable=False),
        Column("facts", Text, nullable=False),
        Column("prev", String(64), nullable=False),
        Column("mac", String(64), nullable=False),
    )
    op.create_table(
        "keys",
        Column("key_id", String(64), primary_key=True),
        Column("digest", String(64), nullable=False, unique=True),
        Column("team", String(128), nullable=False),
        Column("kind", String(16), nullable=False),
        Column("role", String(32), nullable=False),
        Column("name", String(128), nullable=False),
        Column("budgets", Text, nullable=False),
        Column("created_at", Big, nullable=False),
        Column("expires_at", Big),
        Column("revoked_at", Big),
    )
    op.create_table(
        "overrides",
        Column("override_id", Big, primary_key=True, autoincrement=True),
        Column("kind", String(32), nullable=False),
        Column("target", String(256), nullable=False),
        Column("facts", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("author", String(128), nullable=False),
        Column("created_at", Big, nullable=False),
        Column("expires_at", Big),
        Column("ended_at", Big),
    )
    op.create_index("overrides_live", "overrides", ["ended_at", "expires_at"])


def downgrade() -> None:
    for table in ("overrides", "keys", "audit", "outbox", "deferred", "rollups", "charges", "calls"):
        op.drop_table(table)
