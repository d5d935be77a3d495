"""What a channel sends to: settings of a webhook, of mail, of apprise. Secrets go in, and never come out again."""

import base64
import binascii
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import httpx
from pydantic import ConfigDict, Field, SecretStr, StringConstraints, TypeAdapter

from app.services.run_requests import PRINTABLE, Body
from app.services.run_view import View

SECRET_PREFIX = "whsec_"  # noqa: S105 - how such secrets begin, by https://www.standardwebhooks.com
_SECRET_BYTES = 32

Url = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
Host = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._:-]+$")]
# one address without a name, comments or quotes: nothing of it can become a header of its own
_MAILBOX = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$"
Mailbox = Annotated[str, StringConstraints(max_length=254, pattern=_MAILBOX)]
WebhookSecret = Annotated[SecretStr, Field(min_length=38, max_length=100)]
Password = Annotated[SecretStr, Field(min_length=1, max_length=500)]


class WebhookTarget(Body):
    """A program that takes alerts as JSON by HTTP POST, signed."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"kind": "webhook", "url": "https://hooks.example.org/gyrostat"}]}
    )

    kind: Literal["webhook"] = "webhook"
    """A webhook."""
    url: Url
    """Where to send to: https, at a public address, without user name or password. It is not told again in full, since
    many hold a token."""
    secret: WebhookSecret | None = None
    """What messages are signed with: `whsec_` and 24 to 64 bytes in base64. Null makes one, which is told this once."""


class EmailTarget(Body):
    """Mail, by a server that takes it (SMTP)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "email",
                    "host": "smtp.example.org",
                    "username": "gyrostat",
                    "password": "an-app-password",
                    "sender": "gyrostat@example.org",
                    "recipients": ["team@example.org"],
                }
            ]
        }
    )

    kind: Literal["email"] = "email"
    """Mail."""
    host: Host
    """The server, at a public address."""
    port: int = Field(587, ge=1, le=65535)
    """Its port: 587 where it begins in the clear, 465 where it begins encrypted."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is encrypted: after it began, from its beginning, or not at all, which is for servers that the
    operator allows."""
    username: Annotated[str, StringConstraints(min_length=1, max_length=254, pattern=PRINTABLE)] | None = None
    """Who signs in; null does not."""
    password: Password | None = None
    """With what."""
    sender: Mailbox
    """Whom the mail is from."""
    recipients: Annotated[list[Mailbox], Field(min_length=1, max_length=20)]
    """Whom it is to."""


class AppriseTarget(Body):
    """Any service that the library apprise knows; its destinations are not checked, so the operator must allow it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"kind": "apprise", "urls": ["ntfy://ntfy.example.org/gyrostat"]}]}
    )

    kind: Literal["apprise"] = "apprise"
    """Through apprise."""
    urls: Annotated[
        list[Annotated[SecretStr, Field(min_length=4, max_length=2000)]], Field(min_length=1, max_length=10)
    ]
    """Addresses as apprise writes them. They are not told again, since they hold tokens."""


Target = Annotated[WebhookTarget | EmailTarget | AppriseTarget, Field(discriminator="kind")]
Kind = Literal["webhook", "email", "apprise"]

_TARGETS: TypeAdapter[Target] = TypeAdapter(Target)


class WebhookShown(View):
    """A webhook, without its secrets."""

    kind: Literal["webhook"]
    """A webhook."""
    url: str
    """Scheme, host and port; the rest is left out."""


class EmailShown(View):
    """Mail, without the password."""

    kind: Literal["email"]
    """Mail."""
    host: str
    """The server."""
    port: int
    """Its port."""
    security: Literal["starttls", "tls", "none"]
    """How the connection is encrypted."""
    username: str | None
    """Who signs in."""
    has_password: bool
    """Whether there is a password."""
    sender: str
    """Whom the mail is from."""
    recipients: list[str]
    """Whom it is to."""


class AppriseShown(View):
    """Services of apprise, without their addresses."""

    kind: Literal["apprise"]
    """Through apprise."""
    services: list[str]
    """What the addresses begin with."""


TargetShown = Annotated[WebhookShown | EmailShown | AppriseShown, Field(discriminator="kind")]


def stored(target: Target) -> dict[str, Any]:
    """As it is kept in the database, secrets included: they must be sent, so no digest of them would do."""
    return {name: _revealed(value) for name, value in target.model_dump().items()}


def restored(document: Mapping[str, Any]) -> Target:
    """From what is kept in the database."""
    return _TARGETS.validate_python(dict(document))


def shown(target: Target) -> WebhookShown | EmailShown | AppriseShown:
    """What anybody may see of it."""
    if isinstance(target, WebhookTarget):
        return WebhookShown(kind="webhook", url=_without_path(target.url))
    if isinstance(target, EmailTarget):
        told = target.model_dump(exclude={"password"})
        return EmailShown(**told, has_password=target.password is not None)
    services = [url.get_secret_value().partition(":")[0].lower()[:40] for url in target.urls]
    return AppriseShown(kind="apprise", services=services)


def new_secret() -> str:
    """A webhook's secret: 256 random bits."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def key_of(secret: str) -> bytes | None:
    """The bytes that a webhook's secret stands for; None where it is none."""
    if not secret.startswith(SECRET_PREFIX):
        return None
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if 24 <= len(key) <= 64 else None


def _revealed(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return [_revealed(each) for each in value] if isinstance(value, list) else value


def _without_path(address: str) -> str:
    url = httpx.URL(address)
    rest = "/…" if url.path not in ("", "/") or url.query else ""
    return f"{url.scheme}://{url.netloc.decode('ascii')}{rest}"
