"""The tables of the ledger. Money is integer nano-dollars, instants are microseconds since 1970 in UTC."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

Big = BigInteger().with_variant(
    Integer, "sqlite"
)  # SQLite's integers are 64 bits wide, and autoincrement wants the name

calls = Table(
    "calls",
    metadata,
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
    Column("asked_model", String(256), nullable=False, server_default=""),
    Column("refusal", Text, nullable=False, server_default="{}"),
    Index("calls_by_time", "at"),
    Index("calls_by_key", "key_id", "at"),
    Index("calls_by_team", "team", "at"),
    Index("calls_by_model", "provider", "model", "at"),
)

charges = Table(
    "charges",
    metadata,
    Column("charge_id", Big, primary_key=True, autoincrement=True),
    Column("call_id", String(64), ForeignKey("calls.call_id"), nullable=False),
    Column("seq", Integer, nullable=False),  # 0: the call's own; higher ones correct it
    Column("at", Big, nullable=False),  # the instant the hold was placed: its window, price and day
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
    Column("usage", Text, nullable=False),  # every class, as JSON
    UniqueConstraint("call_id", "seq"),
    Index("charges_by_time", "at"),
)

rollups = Table(
    "rollups",
    metadata,
    Column("scope_kind", String(16), primary_key=True),
    Column("scope_name", String(256), primary_key=True),
    Column("quarter", Integer, primary_key=True),  # quarter hours since 1970, UTC
    Column("nanos", Big, nullable=False),
    Column("unreported_nanos", Big, nullable=False),  # of them observed or estimated
    Column("calls", Big, nullable=False),
    Column("input_tokens", Big, nullable=False),
    Column("output_tokens", Big, nullable=False),
)

deferred = Table(
    "deferred",
    metadata,
    Column("provider", String(128), primary_key=True),
    Column("object_id", String(256), primary_key=True),
    Column("call_id", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("at", Big, nullable=False),
    Column("next_at", Big, nullable=False),
    Column("facts", Text, nullable=False),
    Index("deferred_due", "state", "next_at"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("alert_id", Big, primary_key=True, autoincrement=True),
    Column("key", String(512), nullable=False, unique=True),
    Column("kind", String(64), nullable=False),
    Column("level", String(16), nullable=False),
    Column("at", Big, nullable=False),
    Column("scope_kind", String(16), nullable=False),
    Column("scope_name", String(256), nullable=False),
    Column("message", Text, nullable=False),
    Column("facts", Text, nullable=False),
    Column("state", String(16), nullable=False),  # pending | sent | dead
    Column("attempts", Integer, nullable=False),
    Column("next_at", Big, nullable=False),
    Column("last_error", Text, nullable=False),
    Index("outbox_due", "state", "next_at"),
)

audit = Table(
    "audit",
    metadata,
    Column("node", String(128), primary_key=True),
    Column("seq", Big, primary_key=True),
    Column("at", Big, nullable=False),
    Column("event", String(128), nullable=False),
    Column("actor", String(128), nullable=False),
    Column("facts", Text, nullable=False),
    Column("prev", String(64), nullable=False),
    Column("mac", String(64), nullable=False),
)

keys = Table(
    "keys",
    metadata,
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

overrides = Table(
    "overrides",
    metadata,
    Column("override_id", Big, primary_key=True, autoincrement=True),
    Column("kind", String(32), nullable=False),
    Column("target", String(256), nullable=False),
    Column("facts", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("author", String(128), nullable=False),
    Column("created_at", Big, nullable=False),
    Column("expires_at", Big),
    Column("ended_at", Big),
    Index("overrides_live", "ended_at", "expires_at"),
)
