"""What an operator asks of a backend: tokens, and channels that tell of alerts."""

from collections.abc import Mapping, Sequence
from typing import Any

from gyrostat.http_api import Api, Document, segment


class Administration(Api):
    """The part of a backend's API that needs the scope `admin`."""

    def create_token(self, name: str, scopes: Sequence[str], *, days: int | None = None) -> Document:
        """Makes a token of the backend, which needs the scope `admin`; its text is in `token`, this once.

        `scopes` are of "read", "ingest", "run" and "admin"; `days` is how long it is good, None for ever.
        """
        return self._document("POST", "/v1/tokens", body={"name": name, "scopes": list(scopes), "days": days})

    def tokens(self) -> list[Document]:
        """The backend's tokens without their text, newest first."""
        return list(self._pages("/v1/tokens"))

    def revoke_token(self, token: str) -> None:
        """Refuses the token of this id from now on."""
        self._document("DELETE", f"/v1/tokens/{segment(token)}")

    def create_channel(self, name: str, target: Mapping[str, Any], **wanted: Any) -> Document:
        """Makes a channel that tells of alerts; a webhook's `secret` is in the answer, this once.

        `target` has a `kind`: "webhook" with `url`, "email" with `host`, `sender` and `recipients`, "apprise" with
        `urls`. `wanted` says of which alerts: `severity`, `projects`, `rules`, `events`.
        """
        return self._document("POST", "/v1/channels", body={"name": name, "target": dict(target), **wanted})

    def channels(self) -> list[Document]:
        """The backend's channels without their secrets, each with what was `last` told through it."""
        return list(self._pages("/v1/channels"))

    def change_channel(self, channel: str, **changes: Any) -> Document:
        """Changes what is given, as `enabled=False`; answers the channel."""
        return self._document("PATCH", f"/v1/channels/{segment(channel)}", body=changes)

    def test_channel(self, channel: str) -> Document:
        """Sends a message through the channel now; answers its `state`, "sent" or "failed", and the `error`."""
        return self._document("POST", f"/v1/channels/{segment(channel)}:test")

    def deliveries(self, channel: str) -> list[Document]:
        """What was told through the channel, and what waits, newest first."""
        return list(self._pages(f"/v1/channels/{segment(channel)}/deliveries"))

    def delete_channel(self, channel: str) -> None:
        """Forgets the channel, with all that was told through it."""
        self._document("DELETE", f"/v1/channels/{segment(channel)}")
