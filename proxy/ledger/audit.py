"""Who changed what: an append-only chain per node, each entry sealed with a key that is not in the database."""

import hmac
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes

import orjson
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.ledger.schema import audit
from proxy.records import micros

KEY_FILE = "audit.key"


async def append(
    connection: AsyncConnection,
    secret: bytes,
    *,
    node: str,
    at: datetime,
    event: str,
    actor: str,
    facts: dict[str, str],
) -> None:
    """One entry: its seal covers every field and the seal before it."""
    last = await connection.scalar(select(func.max(audit.c.seq)).where(audit.c.node == node))
    seq = 0 if last is None else int(last) + 1
    prev = ""
    if seq:
        prev = str(
            await connection.scalar(select(audit.c.mac).where(audit.c.node == node, audit.c.seq == seq - 1))
        )
    entry = {
        "node": node,
        "seq": seq,
        "at": micros(at),
        "event": event,
        "actor": actor,
        "facts": orjson.dumps(facts, option=orjson.OPT_SORT_KEYS).decode(),
        "prev": prev,
    }
    mac = hmac.new(secret, orjson.dumps(entry, option=orjson.OPT_SORT_KEYS), sha256).hexdigest()
    await connection.execute(audit.insert().values(**entry, mac=mac))


def secret_of(data_dir: Path) -> bytes:
    """The node's audit key, made at the first start and readable by its owner alone."""
    path = data_dir / KEY_FILE
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(token_bytes(32))
    return path.read_bytes()
