"""Where Postgres and Redis are: what is configured, and what is not is taken from the embedded servers.

- A configured address wins, and the embedded servers are asked only for what is missing.
- A command takes addresses from `require`, so that a missing or foreign one is named before anything is begun.
"""

from gateway import embedded, sentinel
from gateway.embedded import Servers
from gateway.settings import Settings, SettingsError

_SCHEMES = {
    "DATABASE_URL": ("postgresql://", "postgres://"),
    "REDIS_URL": ("redis://", "rediss://", "unix://", *sentinel.SCHEMES),
}


def complete(settings: Settings, servers: Servers) -> Settings:
    """Returns the settings with the servers' addresses where they have none."""
    return settings.model_copy(
        update={
            "database_url": settings.database_url or servers.database_url,
            "redis_url": settings.redis_url or servers.redis_url,
        }
    )


def find(settings: Settings) -> Settings:
    """Returns the settings with the addresses of the embedded servers that run in their data directory, where they have none."""
    if settings.database_url and settings.redis_url:
        return settings
    servers = embedded.running(settings.data_dir)
    return complete(settings, servers) if servers else settings


def require(settings: Settings, *names: str) -> list[str]:
    """Returns the addresses, by their variables, in this order. Raises SettingsError for one that is missing, or that makes no sense."""
    found = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    if missing := [name for name in names if not found[name]]:
        raise SettingsError(
            f"{' and '.join(missing)} not set, and no `rowcast run` with embedded servers is running in {settings.data_dir}"
        )
    for name in names:
        if not (found[name] or "").startswith(_SCHEMES[name]):
            raise SettingsError(f"{name} must begin with {' or '.join(_SCHEMES[name])}")
        if name == "REDIS_URL" and (found[name] or "").startswith(sentinel.SCHEMES):
            _check(found[name] or "")
    return [found[name] or "" for name in names]


def _check(url: str) -> None:
    try:
        sentinel.Address.read(url)
    except ValueError as error:
        raise SettingsError(f"REDIS_URL: {error}") from error
