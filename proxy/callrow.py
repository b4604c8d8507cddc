"""One call as the ledger keeps it: every fact that explain, report and simulate may need, and no text of anyone."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rules.scope import ScopeKind

TEXT_CHARS_MAX = 256
AS_OTHER = {ScopeKind.USER: "user_as_other", ScopeKind.CATEGORY: "category_as_other"}
"""Flags of rows whose name of that kind is counted together with others, since there are too many."""


def kept(text: str) -> str:
    """A stranger's words as a row can hold them everywhere: bounded, of whole and printable characters."""
    text = text[:TEXT_CHARS_MAX]
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


@dataclass(slots=True)
class CallRow:
    """Filled by the gateway while the call goes on; written once it has ended, refused calls included."""

    call_id: str
    at: datetime  # UTC; the instant of arrival
    node: str = ""
    team: str = ""
    key_id: str = ""
    user: str = ""
    category: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    trace_id: str = ""
    operation: str = "api_request"
    method: str = ""
    path: str = ""  # without the query: it may carry secrets
    dialect: str = ""
    provider: str = ""
    model: str = ""
    served_model: str = ""
    service_tier: str = ""
    stream: bool = False
    batch_size: int = 1
    policy_version: str = ""
    price_version: str = ""
    verdict: str = "allow"
    rule_ids: list[str] = field(default_factory=list)  # rules that matched and were enforced
    shadow_ids: list[str] = field(default_factory=list)  # rules that matched in shadow mode
    reason: str = ""
    error_type: str = ""  # code of our refusal or of the upstream failure; empty when all went well
    estimate_expected_nanos: int = 0
    estimate_ceiling_nanos: int = 0
    estimate_confidence: float = 0.0
    estimate_basis: str = ""
    estimate_input_tokens: int = 0
    estimate_output_tokens: int = 0
    held_nanos: int = 0
    limits: list[dict[str, Any]] = field(
        default_factory=list
    )  # counter, owner, limit, spent, held at placing
    status: int = 0  # what the client was answered; 499 when it left before
    upstream_status: int = 0
    provider_id: str = ""  # the provider's own id of the response
    outcome: str = ""
    success: bool = False
    request_bytes: int = 0
    response_bytes: int = 0
    waited_us: int = 0  # in line for a budget
    ttft_us: int = 0  # arrival to the first byte of the provider's body
    duration_us: int = 0
    flags: list[str] = field(default_factory=list)
    asked_model: str = ""  # where a rule had another one asked for: that is `model`
    refusal: dict[str, str | None] = field(
        default_factory=dict
    )  # the figures of our own refusal, as they stood in the answer's body
