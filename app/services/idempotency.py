"""A create with an `Idempotency-Key` happens once: repeated, it gets the same answer.

The key is reserved and answered in the transaction of the create itself, so a crash leaves both or neither.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from app.errors import Invalid
from app.storage import idempotency
from app.storage.database import Session

KEPT = timedelta(days=30)
"""How long an answer is given again. Between a create whose answer got lost and the next one a laptop may sleep, or a
clock be put right: a second run would be made."""


def once(
    session: Session,
    key: str | None,
    route: str,
    body: Any,
    now: datetime,
    act: Callable[[], dict[str, Any]],
    *,
    status: int = 201,
) -> dict[str, Any]:
    """The answer of `act` as JSON values, or the one it gave when the key was first used.

    Raises:
        Invalid: the key was used with another body.
    """
    if key is None:
        return act()
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
    idempotency.forget(session, before=now - KEPT)
    known = idempotency.reserve(session, key, route, digest, status, now)
    if known is None:
        answer = act()
        idempotency.answer(session, key, route, answer)
        return answer
    if known.request_digest != digest:
        raise Invalid(
            f"Idempotency-Key {key!r} was used with another body on {known.at.isoformat()}; "
            "use a new key for a new request"
        )
    return known.response
