"""Cursors of lists: where the next page begins, as a text that only this service reads."""

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any, TypeVar

from app.errors import Invalid
from gyrostat.spec.checks import Problem

T = TypeVar("T")


def cursor_of(place: Any) -> str:
    """The cursor of a place, which is JSON."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def place_of(cursor: str, checked: Callable[[Any], T], *, sent: str = "send the `next` of the last page") -> T:
    """What `checked` makes of the place that a cursor names; it may raise ValueError, TypeError or AttributeError.

    Raises:
        Invalid: it does, or the text is no cursor at all; `sent` is what mends it.
    """
    try:
        return checked(json.loads(base64.urlsafe_b64decode(cursor.encode("ascii"))))
    except (ValueError, TypeError, AttributeError, binascii.Error) as error:
        mend = f"{sent}, or no cursor"
        problem = Problem(path="query.cursor", value=cursor[:100], message="is no cursor of this list", mend=mend)
        raise Invalid("the cursor cannot be used", problems=[problem]) from error
