"""The console as `rowcast run` serves it, and as it does not where it is switched off."""

import re
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.acceptance.test_cli_run import running
from tests.support.blocking import until
from tests.support.process import environment, free_port

LINK = re.compile(r"(?m)^Console: (\S+)$")


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with a data directory and a free port, and neither addresses nor a key."""
    given = environment(None, ROWCAST_DATA_DIR=str(tmp_path_factory.mktemp("run") / "data"), PORT=str(free_port()), ROWCAST_DEMO="0")
    del given["ROWCAST_JWT_SECRET"]
    return given


def test_on(env: dict[str, str], tmp_path: Path) -> None:
    """`rowcast run` prints a link to the console, with the curl line's token and streams behind the #."""
    with running(env, tmp_path) as (_, log, curl):
        until(lambda: LINK.search(log.read_text()), log)
        link = urlsplit(LINK.search(log.read_text())[1])  # type: ignore[index]  # it is there
        fragment = parse_qs(link.fragment)
        assert f"Bearer {fragment['token'][0]}'" in curl
        assert curl.endswith(f"/streams/{fragment['streams'][0]}")
        with urllib.request.urlopen(f"http://{link.netloc}{link.path}") as answer:
            assert b"Rowcast console" in answer.read()


def test_off(env: dict[str, str], tmp_path: Path) -> None:
    """Switched off, also in a `.env`, there is neither a link nor a console."""
    (tmp_path / ".env").write_text("ROWCAST_CONSOLE=0\n")
    with running(env, tmp_path) as (_, log, _):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{env['PORT']}/console")
        assert LINK.search(log.read_text()) is None
