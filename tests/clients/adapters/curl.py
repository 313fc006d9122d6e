"""`curl`, whose lines are read as they come."""

import subprocess

from tests.clients.adapters.job import Job


def listen(job: Job) -> None:
    headers = [part for name, value in job.headers.items() for part in ("--header", f"{name}: {value}")]
    command = ["curl", "--no-buffer", "--silent", "--show-error", "--fail", *headers, job.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        fields: dict[str, str] = {}
        for line in process.stdout:
            name, colon, value = line.decode().removesuffix("\n").partition(": ")
            if colon:
                fields[name] = value
            elif fields and not name:
                job.event(fields.get("id"), fields.get("event"), fields.get("data", ""))
                fields = {}
        if process.wait():
            raise RuntimeError(process.stderr.read().decode().strip())
