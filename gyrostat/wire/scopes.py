"""What a token may allow."""

from typing import Literal

Scope = Literal["read", "ingest", "run", "admin"]
"""To look; to train and send; to start and steer; everything."""
SCOPES: tuple[Scope, ...] = ("read", "ingest", "run", "admin")
