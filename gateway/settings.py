"""Settings, read once at the edge from the environment or `.env`, frozen, passed in."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from auth.jwks import Jwks
from auth.key import Key, KeyConfigError, public_key, shared_secret
from auth.token import Verifier

EXAMPLES = "streams"
"""The declarations that come with Rowcast."""
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


class SettingsError(Exception):
    """A setting is missing or cannot be understood."""


def duration(value: Any) -> Any:
    """Reads `90s`, `15m`, `24h`, `7d` or plain seconds. Raises ValueError for other text."""
    if isinstance(value, str):
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?", value.strip())
        if match is None:
            raise ValueError(f"{value!r} is not a duration such as 90s, 15m, 24h or 7d")
        try:
            return timedelta(seconds=float(match[1]) * _UNITS[match[2] or "s"])
        except OverflowError as error:
            raise ValueError(f"{value!r} is longer than anybody will wait") from error
    return value


def _words(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Duration = Annotated[timedelta, BeforeValidator(duration), Field(gt=timedelta())]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]


def _plain(name: str) -> Any:
    return AliasChoices(name, name.lower())


class Settings(BaseSettings):
    """All settings; docs/configuration.md explains each."""

    model_config = SettingsConfigDict(
        env_prefix="ROWCAST_", env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True, populate_by_name=True
    )

    database_url: str | None = Field(None, repr=False, validation_alias=_plain("DATABASE_URL"))
    redis_url: str | None = Field(None, repr=False, validation_alias=_plain("REDIS_URL"))
    host: str = Field("127.0.0.1", validation_alias=_plain("HOST"))
    port: int = Field(8000, ge=0, le=65535, validation_alias=_plain("PORT"))
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", validation_alias=_plain("LOG_LEVEL"))

    streams: str = EXAMPLES
    notify: Literal["armed", "always", "never"] = "armed"
    jwt_secret: str | None = Field(None, repr=False)
    jwt_public_key: str | None = None
    jwks_url: str | None = None
    jwt_algorithms: Words = ()
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    max_token_lifetime: Duration = timedelta(days=7)
    query_tokens: bool = False
    cookie_samesite: Literal["strict", "lax", "none"] = "strict"
    connections_per_user: int = Field(100, ge=0)
    connections_per_address: int = Field(0, ge=0)
    attempts_per_minute: int = Field(0, ge=0)
    trusted_proxies: Words = ()
    rls_role: str = "authenticated"
    cors_origins: Words = ()
    retention: Duration = timedelta(hours=24)
    heartbeat: Duration = timedelta(seconds=8)
    keep_alive: Duration = timedelta(seconds=75)
    max_age: Duration = timedelta(hours=1)
    max_event_bytes: int = Field(262_144, ge=1024, le=8_388_608)
    backlog_entries: int = Field(1000, ge=10)
    drain: Duration = timedelta(seconds=10)
    data_dir: Path = Path(".rowcast")
    demo: bool = True
    console: bool | None = None

    @property
    def reachable_host(self) -> str:
        """The address under which this machine reaches itself."""
        return "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104 - compared, not bound

    @property
    def secret_file(self) -> Path:
        return self.data_dir / "jwt-secret"

    @property
    def own_claims(self) -> dict[str, str]:
        """The claims that every token needs here."""
        given = {"iss": self.jwt_issuer, "aud": self.jwt_audience}
        return {name: value for name, value in given.items() if value}

    def key(self) -> Key:
        """Returns the key that verifies tokens. Raises SettingsError where none or a useless one is configured."""
        try:
            if self.jwt_public_key:
                return public_key(self.jwt_public_key.replace("\\n", "\n"), self.jwt_algorithms)
            if self.jwt_secret:
                return shared_secret(self.jwt_secret, self.jwt_algorithms)
        except KeyConfigError as error:
            raise SettingsError(str(error)) from error
        raise SettingsError(
            "no key to verify tokens with: set ROWCAST_JWT_SECRET (32 bytes or more), ROWCAST_JWT_PUBLIC_KEY (PEM) or ROWCAST_JWKS_URL"
        )

    def with_local_secret(self) -> "Settings":
        """Returns the settings with this data directory's own secret, where no key is configured and `rowcast run` has made one."""
        if self.jwt_secret or self.jwt_public_key or self.jwks_url or not self.secret_file.exists():
            return self
        return self.model_copy(update={"jwt_secret": self.secret_file.read_text().strip()})

    def verifier(self) -> Verifier:
        """Returns what turns tokens into principals. Raises SettingsError as `key` does."""
        return Verifier(self.keys(), self.jwt_issuer, self.jwt_audience, self.max_token_lifetime.total_seconds())

    def keys(self) -> Key | Jwks:
        """Returns the key, or where keys are fetched from. Raises SettingsError as `key` does, and for an address that cannot be one."""
        if not self.jwks_url:
            return self.key()
        try:
            return Jwks(self.jwks_url, self.jwt_algorithms)
        except KeyConfigError as error:
            raise SettingsError(str(error)) from error


def read(**overrides: Any) -> Settings:
    """Reads the settings; `overrides` win, by field name. Raises SettingsError, naming the variable, for one that makes no sense."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).upper() if first["loc"] else "settings"
        known = {"DATABASE_URL", "REDIS_URL", "HOST", "PORT", "LOG_LEVEL"}
        raise SettingsError(f"{name if name in known else 'ROWCAST_' + name}: {first['msg']}") from error
