"""Sends a message as signed JSON, to an address that was checked, and follows no redirect.

Headers and signature are those of https://www.standardwebhooks.com, for which receivers have libraries:
`webhook-signature` is `v1,` and the base64 of HMAC-SHA256(key, "{webhook-id}.{webhook-timestamp}.{body}").
"""

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import httpx

from app.services.notify.addresses import AddressGuard, Destination, NotAllowed, Refused
from app.services.notify.outbox import Outcome
from app.services.notify.targets import SECRET_PREFIX, WebhookTarget, key_of
from gyrostat import __version__

SECONDS = 5.0
"""For connecting, sending and the status of the answer together."""
CONNECT_SECONDS = 2.0
"""For one of the host's addresses."""
PASSING = frozenset({408, 425, 429})
"""Statuses below 500 after which trying again may help."""
PORTS = frozenset({80, 443})


def check(target: WebhookTarget, guard: AddressGuard) -> tuple[httpx.URL, Destination]:
    """Where to send to.

    Raises:
        Refused: it is no address of the web. NotAllowed: it may not be sent to.
        Unresolved: it leads nowhere at the moment.
    """
    if not target.url.isascii() or not target.url.isprintable() or any(each in target.url for each in ' \\"<>^`{|}'):
        raise Refused("it holds a character that is no part of an address; write it percent-encoded")
    try:
        url = httpx.URL(target.url)
    except httpx.InvalidURL as error:
        raise Refused(f"it cannot be read ({error})") from None
    if url.scheme not in ("https", "http") or not url.host:
        raise Refused("it is no https address")
    if url.userinfo or "@" in target.url.partition("//")[2].partition("/")[0]:
        raise Refused("it holds a user name, and those are not sent")
    if url.fragment:
        raise Refused("it holds a fragment, and those are not sent")
    usual = 443 if url.scheme == "https" else 80
    # the name as it is asked for: not what `xn--` stands for
    destination = guard.check(url.raw_host.decode("ascii"), usual if url.port is None else url.port, PORTS)
    if url.scheme == "http" and not destination.is_allowed:
        raise NotAllowed("it is not encrypted; use https")
    return url, destination


def send(
    target: WebhookTarget,
    url: httpx.URL,
    destination: Destination,
    message: Mapping[str, Any],
    *,
    delivery: str,
    now: datetime,
    tls: ssl.SSLContext,
) -> Outcome:
    """Posts the message and tells what came of it; it takes `SECONDS` at most."""
    body = json.dumps(message).encode()
    headers = {
        "content-type": "application/json",
        "user-agent": f"gyrostat/{__version__}",
        "host": url.netloc.decode("ascii"),
        **signed(target, body, delivery=delivery, now=now),
    }
    return asyncio.run(_posted(url, destination, body, headers, tls))


def signed(target: WebhookTarget, body: bytes, *, delivery: str, now: datetime) -> dict[str, str]:
    """The headers by which a receiver knows the message, when it was sent, and that we sent it."""
    timestamp = str(int(now.timestamp()))
    headers = {"webhook-id": delivery, "webhook-timestamp": timestamp}
    key = None if target.secret is None else key_of(target.secret.get_secret_value())
    if key is None:
        raise ValueError(f"a webhook's secret is {SECRET_PREFIX} and base64")
    digest = hmac.new(key, f"{delivery}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {**headers, "webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}


async def _posted(
    url: httpx.URL, destination: Destination, body: bytes, headers: Mapping[str, str], tls: ssl.SSLContext
) -> Outcome:
    failure, outcome = f"{destination.host} has no address", None
    try:
        async with asyncio.timeout(SECONDS), _client(tls) as client:
            for address in destination.addresses:
                request = client.build_request(
                    "POST",
                    url.copy_with(host=address),
                    content=body,
                    headers=headers,
                    # the certificate must be that of the name, whatever the address
                    extensions={"sni_hostname": destination.host},
                )
                try:
                    answer = await client.send(request, stream=True)
                except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                    failure = f"no connection to {address}, port {destination.port}: {error or 'no answer'}"
                    continue
                outcome = _outcome(answer)
                await answer.aclose()  # unread: there is nothing in it for us
                break
    except (TimeoutError, httpx.TimeoutException):
        failure = f"no answer within {SECONDS:g} s"
    except httpx.TransportError as error:
        failure = f"the connection broke off ({type(error).__name__})"
    # an answer stands, whatever goes wrong after it
    return outcome or Outcome(passed=False, again=True, error=failure)


def _client(tls: ssl.SSLContext) -> httpx.AsyncClient:
    # a proxy of the environment would resolve the name itself, unchecked, so none is used
    timeout = httpx.Timeout(SECONDS, connect=CONNECT_SECONDS)
    return httpx.AsyncClient(verify=tls, trust_env=False, follow_redirects=False, timeout=timeout)


def _outcome(answer: httpx.Response) -> Outcome:
    status = answer.status_code
    if answer.is_success:
        return Outcome(passed=True, status=status)
    if answer.is_redirect or 300 <= status < 400:
        return Outcome(passed=False, status=status, error="it answers with a redirect, and those are not followed")
    again = status in PASSING or status >= 500
    asked = answer.headers.get("retry-after", "")
    return Outcome(
        passed=False,
        again=again,
        status=status,
        error=f"it answers {status} {httpx.codes.get_reason_phrase(status)}".rstrip(),
        retry_after=float(asked) if asked.isdecimal() and len(asked) < 7 else None,
    )
