"""Settings: read once, frozen, and wrong ones named."""

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.settings import Settings, SettingsError, duration, read
from tests.auth.pem import public_pem

SECRET = "canary-secret-" * 4


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting and no `.env` from outside."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"ROWCAST_{name.upper()}", raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def test_defaults() -> None:
    """Without any setting the defaults of the contract hold."""
    settings = read()
    assert (settings.host, settings.port, settings.log_level) == ("127.0.0.1", 8000, "info")
    assert (settings.streams, settings.retention, settings.heartbeat) == ("streams", timedelta(hours=24), timedelta(seconds=8))
    assert (settings.data_dir, settings.demo, settings.database_url, settings.redis_url) == (Path(".rowcast"), True, None, None)


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings come from the environment: the plain names as they are, ours with the prefix, lists by commas."""
    for name, value in {
        "DATABASE_URL": "postgresql://h/d",
        "REDIS_URL": "redis://h",
        "PORT": "9000",
        "ROWCAST_RETENTION": "7d",
        "ROWCAST_JWT_ALGORITHMS": "HS256, HS384,",
        "ROWCAST_CORS_ORIGINS": "https://a.example,https://b.example",
        "ROWCAST_DEMO": "0",
        "ROWCAST_NONSENSE": "1",
        "ROWCAST_PORT": "1",
        "ROWCAST_HEARTBEAT": "",
    }.items():
        monkeypatch.setenv(name, value)
    settings = read()
    assert (settings.database_url, settings.redis_url, settings.port) == ("postgresql://h/d", "redis://h", 9000)
    assert settings.retention == timedelta(days=7)
    assert settings.jwt_algorithms == ("HS256", "HS384")
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.demo is False
    assert settings.heartbeat == timedelta(seconds=8)


def test_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `.env` in the working directory is read, the environment wins over it, and an override over both."""
    Path(".env").write_text("PORT=9001\nHOST=0.0.0.0\nROWCAST_DRAIN=3s\nOTHER=1\n")
    monkeypatch.setenv("HOST", "127.0.0.2")
    assert (read().port, read().host, read().drain) == (9001, "127.0.0.2", timedelta(seconds=3))
    assert read(port=9002).port == 9002


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("24h", 86400), ("7d", 604800), ("250ms", 0.25), ("5", 5), ("1.5h", 5400), (" 8s ", 8)]
)
def test_durations(text: str, seconds: float) -> None:
    """Durations have a unit, or are seconds."""
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "s", "-5s", "5 s", "1h30m", "5w", "1e3", "٥s", "inf", "5S"])
def test_durations_that_make_no_sense(text: str) -> None:
    """Anything else is no duration."""
    with pytest.raises(ValueError, match="not a duration"):
        duration(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "abc"),
        ("PORT", "70000"),
        ("PORT", "-1"),
        ("LOG_LEVEL", "loud"),
        ("ROWCAST_NOTIFY", "sometimes"),
        ("ROWCAST_RETENTION", "long"),
        ("ROWCAST_HEARTBEAT", "-8s"),
        ("ROWCAST_HEARTBEAT", "0"),
        ("ROWCAST_RETENTION", "99999999999d"),
        ("ROWCAST_MAX_EVENT_BYTES", "12"),
        ("ROWCAST_BACKLOG_ENTRIES", "0"),
        ("ROWCAST_DEMO", "perhaps"),
    ],
)
def test_wrong_values_name_their_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A setting that makes no sense is an error that begins with its variable's name."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        read()
    assert str(refused.value).startswith(f"{name}: ")


def test_settings_are_frozen() -> None:
    """Settings cannot be changed once read."""
    with pytest.raises(ValueError, match="frozen"):
        read().port = 1


def test_secrets_are_not_shown() -> None:
    """Neither the secret nor a password in an address appears when settings are printed or logged."""
    settings = read(jwt_secret=SECRET, database_url="postgresql://u:canary-password@h/d", redis_url="redis://:canary-password@h")
    assert "canary" not in repr(settings) + str(settings)


def test_no_key() -> None:
    """Without a key there is no verifier, and the error says what to set."""
    with pytest.raises(SettingsError, match=r"ROWCAST_JWT_SECRET .*, ROWCAST_JWT_PUBLIC_KEY .* or ROWCAST_JWKS_URL"):
        read().verifier()


def test_keys() -> None:
    """A secret or a public key makes the key; of both, the public key, which cannot sign."""
    assert read(jwt_secret=SECRET).key().secret == SECRET
    assert read(jwt_public_key=public_pem("rsa")).key().algorithms == ("RS256",)
    assert read(jwt_public_key=public_pem("rsa").replace("\n", "\\n")).key().secret is None
    assert read(jwt_public_key=public_pem("rsa"), jwt_secret=SECRET).key().secret is None
    with pytest.raises(SettingsError, match="ROWCAST_JWT_SECRET") as refused:
        read(jwt_secret="canary").key()
    assert "canary" not in str(refused.value)


def test_local_secret(tmp_path: Path) -> None:
    """The data directory's own secret is taken where no key is configured, and only there."""
    settings = read(data_dir=tmp_path)
    assert settings.with_local_secret() is settings
    settings.secret_file.write_text(f"{SECRET}\n")
    assert settings.with_local_secret().jwt_secret == SECRET
    assert read(data_dir=tmp_path, jwt_secret="x" * 40).with_local_secret().jwt_secret == "x" * 40
    assert read(data_dir=tmp_path, jwt_public_key="pem").with_local_secret().jwt_secret is None


def test_verifier_has_issuer_and_audience() -> None:
    """Issuer and audience reach the verifier."""
    verifier = read(jwt_secret=SECRET, jwt_issuer="https://i.example", jwt_audience="rowcast").verifier()
    assert (verifier.issuer, verifier.audience) == ("https://i.example", "rowcast")
