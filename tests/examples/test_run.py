"""`python examples/run.py …`, as the READMEs say, on an empty directory."""

import os
import re
import signal
import sys
from pathlib import Path

import httpx2
import pytest

from tests.examples.conftest import EXAMPLES
from tests.support.blocking import until
from tests.support.process import environment, free_port, started


@pytest.mark.parametrize(("name", "text"), [("homeser", "Sign in"), ("acquire", "<title>Acquire Apartments</title>")])
def test_run(name: str, text: str, pages: None, tmp_path: Path) -> None:
    """It says when it is ready, shows its page, lets the page listen from where it is, and Ctrl-C ends it."""
    port, site_port = free_port(), free_port()
    env = environment(PORT=str(port), SITE_PORT=str(site_port), ROWCAST_DATA_DIR=str(tmp_path / "data"))
    del env["ROWCAST_JWT_SECRET"], env["PYTHONPATH"]
    log = tmp_path / "run.log"
    with started([sys.executable, str(EXAMPLES / "run.py"), name], env, log, cwd=tmp_path) as process:
        until(lambda: "ready: " in log.read_text() or process.poll() is not None, log)
        assert f"ready: http://127.0.0.1:{site_port}/" in log.read_text()
        origin = f"http://127.0.0.1:{site_port}"
        page = httpx2.get(origin, follow_redirects=True)
        assert text in page.text
        assert f"connect-src 'self' http://127.0.0.1:{port};" in page.headers["content-security-policy"]
        for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text):
            assert httpx2.get(origin + path).status_code == 200
        asked = {"Origin": origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization,last-event-id"}
        answer = httpx2.options(f"http://127.0.0.1:{port}/streams/services", headers=asked)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == origin
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)
        assert "Traceback" not in log.read_text()
