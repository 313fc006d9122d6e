"""A proxy in front of the gateway: one of the configurations of docs/proxies.md, as it stands there, on a free port.

Only what differs from machine to machine is put in: addresses, ports, paths, and where a proxy keeps its own files. Each text that is
replaced must be there, so that the page and the tests cannot part.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.process import ROOT, free_port

NAME = "events.example.com"
PROXIES = ("nginx", "caddy", "haproxy")
"""Names of programs, and of Debian's packages."""
each_proxy = pytest.mark.parametrize("proxy", PROXIES)
_PAGE = ROOT / "docs" / "proxies.md"
_FENCES = {"nginx": "nginx", "caddy": "caddyfile", "haproxy": "haproxy"}
_GATEWAYS = ("10.0.0.11:8000", "10.0.0.12:8000")
_START_SECONDS = 30


class Refused(Exception):
    """The proxy has ended at its start; its log says why."""


@dataclass(frozen=True)
class Certificate:
    """A certificate of its own for the site, and its key; one file has both."""

    chain: Path
    key: Path
    both: Path

    @staticmethod
    def make(directory: Path) -> "Certificate":
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        chain = certificate.public_bytes(serialization.Encoding.PEM)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption_algorithm=serialization.NoEncryption()
        )
        made = Certificate(directory / "site.pem", directory / "site.key", directory / "both.pem")
        made.chain.write_bytes(chain)
        made.key.write_bytes(secret)
        made.both.write_bytes(chain + secret)
        return made


@dataclass(frozen=True)
class Front:
    """A proxy that runs."""

    proxy: str
    port: int
    certificate: Certificate
    process: subprocess.Popen[bytes] = field(repr=False)
    log: Path

    @property
    def origin(self) -> str:
        return f"https://{NAME}:{self.port}"

    @property
    def memory_bytes(self) -> int:
        """What its processes have in memory, of their own: nobody else's pages are counted."""
        group, found = self.process.pid, 0
        for directory in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ProcessLookupError):
                if directory.name.isdigit() and os.getpgid(int(directory.name)) == group:
                    lines = (directory / "smaps_rollup").read_text().splitlines()
                    found += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))
        return found

    def reload(self) -> None:
        """Lets it read its configuration again, as its service would."""
        if self.proxy == "caddy":
            file, address = self.log.with_name("configuration"), f"unix/{self.log.with_name('admin')}"
            command = [require(self.proxy), "reload", "--force", "--adapter", "caddyfile", "--config", str(file), "--address", address]
            subprocess.run(command, check=True, capture_output=True, env={"HOME": str(file.parent)})
        else:
            self.process.send_signal({"nginx": signal.SIGHUP, "haproxy": signal.SIGUSR2}[self.proxy])


def configuration(proxy: str) -> str:
    """Returns the configuration that the docs show."""
    fences = re.findall(rf"^```{_FENCES[proxy]}\n(.*?)^```$", _PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(fences) == 1, f"there is one configuration for {proxy} in {_PAGE.name}"
    return str(fences[0])


def require(proxy: str) -> str:
    """Returns where a proxy's program is; without it, or curl, the test is skipped, and fails in CI."""
    if sys.platform != "linux":
        pytest.skip("these tests look into Linux's /proc, and use many addresses of this machine")
    places = {program: shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin") for program in ("curl", proxy)}
    for program, place in places.items():
        if place is None:
            reason = f"there is no {program} here: apt-get install --no-install-recommends {program}"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
    return str(places[proxy])


@contextmanager
def front(proxy: str, gateways: Sequence[int], directory: Path, changes: Mapping[str, str] | None = None) -> Iterator[Front]:
    """Runs a proxy before gateways on these ports of this machine; where there is one, it stands for both. `changes` are a test's own."""
    program, port = require(proxy), free_port()
    home = directory / proxy
    home.mkdir()
    certificate = Certificate.make(home)
    text = _replace(configuration(proxy), changes or {})
    text = _replace(text, _places(proxy, port, certificate, home))
    ports = [*gateways, *gateways][:2]
    text = _replace(text, {there: f"127.0.0.1:{here}" for there, here in zip(_GATEWAYS, ports, strict=True)})
    file = home / "configuration"
    file.write_text(text)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    log = home / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(proxy, program, file, home), env=environment, cwd=home, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_until_it_listens(process, port, log)
        yield Front(proxy, port, certificate, process, log)
    finally:
        # It holds nothing that is worth a goodbye; workers go with their master.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _replace(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, f"the configuration in {_PAGE.name} has no {old!r}"
        text = text.replace(old, new)
    return text


def _places(proxy: str, port: int, certificate: Certificate, home: Path) -> dict[str, str]:
    """Returns what takes the place of what, where machines differ."""
    pair = {"/etc/ssl/events.key": str(certificate.key), "/etc/ssl/events.pem": str(certificate.chain)}
    if proxy == "nginx":
        temporary = "".join(f"    {kind}_temp_path {home}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        return pair | {"listen 443 ssl": f"listen 127.0.0.1:{port} ssl", "http {\n": f"http {{\n    access_log off;\n{temporary}"}
    if proxy == "caddy":
        return pair | {
            f"{NAME} {{": f"{NAME}:{port} {{\n\tbind 127.0.0.1",
            "{\n\tservers {": f"{{\n\tadmin unix/{home}/admin\n\tauto_https disable_redirects\n\tservers {{",
        }
    return {"/etc/ssl/events.pem": str(certificate.both), "bind :443": f"bind 127.0.0.1:{port}"}


def _command(proxy: str, program: str, file: Path, home: Path) -> list[str]:
    if proxy == "nginx":
        user = "user root; " if os.geteuid() == 0 else ""
        return [
            program,
            "-e",
            "stderr",
            "-p",
            str(home),
            "-c",
            str(file),
            "-g",
            f"daemon off; {user}pid {home}/pid; error_log stderr info;",
        ]
    if proxy == "caddy":
        return [program, "run", "--adapter", "caddyfile", "--config", str(file)]
    return [program, "-W", "-db", "-f", str(file)]


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        if process.poll() is not None:
            raise Refused(log.read_text())
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(log.read_text())
        time.sleep(0.05)
