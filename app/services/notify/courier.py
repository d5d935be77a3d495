"""Checks what a channel sends to, and sends."""

import ssl
from datetime import datetime
from functools import cached_property

import httpx

from app.errors import Conflict, Invalid
from app.services.notify import mail, messages, through_apprise, webhook
from app.services.notify.addresses import AddressGuard, NotAllowed, Refused, Resolver, Unresolved, system_addresses
from app.services.notify.outbox import Outcome, Task
from app.services.notify.targets import EmailTarget, Target, WebhookTarget
from app.settings import AppSettings
from gyrostat.spec.checks import Problem

ALLOW = "send to a public address, or have the operator allow this one (GYROSTAT_CHANNEL_ALLOW)"
CORRECT = "correct it; this is nothing that the operator could allow"


class Courier:
    """Sends by whatever kind a channel is of.

    Args:
        resolve: gives the addresses of a host.
        tls: whom to trust; None is the authorities that are known everywhere, or those of SSL_CERT_FILE.
    """

    def __init__(
        self, settings: AppSettings, *, resolve: Resolver = system_addresses, tls: ssl.SSLContext | None = None
    ) -> None:
        self._guard = AddressGuard(settings.channel_allow, resolve)
        self._settings = settings
        self._given_tls = tls

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or httpx.create_ssl_context()

    def check(self, target: Target) -> None:
        """Whether it may be sent to, as things are now.

        Raises:
            Invalid: it may not. Conflict: what it needs is not installed.
        """
        try:
            if isinstance(target, WebhookTarget):
                path, mend = "target.url", CORRECT
                webhook.check(target, self._guard)
            elif isinstance(target, EmailTarget):
                path, mend = "target.host", CORRECT
                mail.check(target, self._guard)
            else:
                path, mend = "target.urls", "use a webhook or mail, or change this"
                through_apprise.check(target, allowed=self._settings.channel_apprise)
        except NotAllowed as refusal:
            raise _invalid(path, str(refusal), ALLOW) from None
        except Refused as refusal:
            raise _invalid(path, str(refusal), mend) from None
        except Unresolved as error:
            raise _invalid(path, str(error), "mend the name, or try again when it is known") from None

    def send(self, task: Task, now: datetime) -> Outcome:
        """Checks again, sends, and tells what came of it."""
        target, public_url = task.target, self._settings.public_url
        try:
            if isinstance(target, WebhookTarget):
                url, destination = webhook.check(target, self._guard)
                document = messages.document(task.message, task.id, public_url)
                return webhook.send(target, url, destination, document, delivery=task.id, now=now, tls=self._tls)
            if isinstance(target, EmailTarget):
                destination = mail.check(target, self._guard)
                return mail.send(
                    target,
                    destination,
                    task.message,
                    delivery=task.id,
                    now=now,
                    public_url=public_url,
                    tls=self._tls,
                )
            through_apprise.check(target, allowed=self._settings.channel_apprise)
            return through_apprise.send(target, task.message, public_url)
        except Refused as refusal:
            return Outcome(passed=False, error=f"refused: {refusal}")
        except Conflict as error:
            return Outcome(passed=False, error=error.detail)
        except Unresolved as error:
            return Outcome(passed=False, again=True, error=str(error))


def _invalid(path: str, message: str, mend: str) -> Invalid:
    problem = Problem(path=path, value=None, message=message, mend=mend)
    return Invalid(f"the channel's target cannot be used: {message}", problems=[problem])
