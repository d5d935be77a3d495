"""The backend's settings, from `GYROSTAT_*` variables."""

import ipaddress
import json
import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

LOOPBACK = ("127.0.0.1", "::1", "localhost")
HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*", re.ASCII | re.IGNORECASE)
"""A host's name, without the dot that may end it."""
PREFIX = "GYROSTAT_"


class AppSettings(BaseSettings):
    """Everything an operator can set; unknown `GYROSTAT_` variables of other parts are ignored."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback needs a token."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on."""
    data: Path = Path("var")
    """Folder of everything the backend writes."""
    database_url: str = ""
    """SQLAlchemy URL; empty is an SQLite file in the data folder."""
    token: SecretStr | None = None
    """Bearer token that every request must carry; required beyond loopback. At least 16 characters."""
    hosts: Annotated[list[str], NoDecode] = Field(default_factory=list)
    """Host names this service is reached under, besides loopback and `host`; separated by commas, or a JSON list."""
    max_body_bytes: int = Field(8 << 20, ge=1024)
    """Largest request body."""
    log_format: Literal["json", "text"] = "json"
    """One JSON document a line, or text to read."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """From which severity on the log has lines; `debug` has one for every request."""
    keep_days: float | None = Field(None, gt=0)
    """Runs that ended so many days ago are deleted, with all measurements, unless they are tagged `keep`."""
    keep_raw_days: float | None = Field(None, gt=0)
    """Of runs that ended so many days ago summaries are kept, unless they are tagged `keep`: of every 16 rows minimum,
    mean, maximum and the last."""
    max_backlog_bytes: int = Field(64 << 20, ge=1)
    """Batches of frames that may wait to be stored, together; senders are asked to come back (429) beyond that."""
    public_url: str = ""
    """Address that people reach the dashboard under, for the links in notifications; empty leaves them out."""
    channel_allow: Annotated[list[str], NoDecode] = Field(default_factory=list)
    """Hosts and networks that channels may send to though they are not public; separated by commas, or a JSON list."""
    channel_apprise: bool = False
    """Whether there may be channels of the kind apprise, whose destinations cannot be checked."""
    heartbeat_seconds: float = Field(2.0, gt=0)
    """How often workers are asked to report."""
    unreachable_seconds: float = Field(8.0, gt=0)
    """A worker silent for so long makes its runs `unreachable`."""
    lease_seconds: float = Field(20.0, gt=0)
    """A worker silent for so long loses its runs: they go on elsewhere."""
    attached_silence_seconds: float = Field(600.0, gt=0)
    """An attached training that sends nothing for so long is `unreachable`, until it sends something again."""
    max_attempts: int = Field(5, ge=1)
    """A run whose workers were lost this often is `lost`."""

    @field_validator("hosts", "channel_allow", mode="before")
    @classmethod
    def _separated(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        if given.lstrip().startswith("["):
            return json.loads(given)
        return [name.strip() for name in given.split(",") if name.strip()]

    @field_validator("channel_allow")
    @classmethod
    def _hosts_and_networks(cls, given: list[str]) -> list[str]:
        for entry in given:
            try:
                ipaddress.ip_network(entry)
            except ValueError as error:
                if "/" in entry or not HOST.fullmatch(entry):
                    raise ValueError(
                        f"{entry!r} is no host and no network ({error}); write hooks.internal, 10.1.2.3 or 10.1.0.0/16"
                    ) from None
        return given

    @field_validator("public_url")
    @classmethod
    def _links_begin_with_it(cls, given: str) -> str:
        parts = urlsplit(given)
        plain = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
        if given and (not plain or "@" in parts.netloc or not given.isprintable() or " " in given):
            raise ValueError(f"{given!r} is no address of a page; write it like https://gyrostat.example.org")
        return given.rstrip("/")

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.token is not None and len(self.token.get_secret_value()) < 16:
            raise ValueError(
                "GYROSTAT_TOKEN is shorter than 16 characters; use a random one, as `openssl rand -hex 24` makes"
            )
        if self.host not in LOOPBACK and self.token is None:
            raise ValueError(
                f"GYROSTAT_HOST={self.host} is reachable from other machines and no GYROSTAT_TOKEN is set; "
                "set a token of at least 16 characters, or listen on 127.0.0.1"
            )
        if self.keep_days is not None and self.keep_raw_days is not None and self.keep_raw_days >= self.keep_days:
            raise ValueError(
                f"GYROSTAT_KEEP_RAW_DAYS={self.keep_raw_days:g} must be below GYROSTAT_KEEP_DAYS={self.keep_days:g}; "
                "lower the first or leave it out: runs would be deleted before they could be thinned"
            )
        if not self.heartbeat_seconds < self.unreachable_seconds < self.lease_seconds:
            raise ValueError("heartbeat_seconds < unreachable_seconds < lease_seconds must hold")
        return self

    @property
    def url(self) -> str:
        """The database's SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{self.data / 'gyrostat.sqlite'}"


def misspelt(names: Iterable[str]) -> list[str]:
    """Of variables that are no setting, those that look as if they were meant for one, and for which.

    Others go by unsaid: the workers' are none of ours, and orchestrators make up variables that begin alike.
    """
    known = {f"{PREFIX}{name.upper()}" for name in AppSettings.model_fields}
    given = sorted(name for name in names if name.startswith(PREFIX) and name not in known)
    close = {name: get_close_matches(name, known, n=1, cutoff=0.9) for name in given}
    return [f"{name} is no setting, and ignored; did you mean {meant[0]}?" for name, meant in close.items() if meant]
