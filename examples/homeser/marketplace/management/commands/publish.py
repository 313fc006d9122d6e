"""`manage.py publish`: after `migrate`, and whenever what is published has changed."""

import os
import subprocess
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Installs the triggers of the published tables in Postgres: `rowcast migrate`. Changes nothing that is as it should be."

    def handle(self, *args: Any, **options: Any) -> None:
        path = os.pathsep.join(filter(None, [str(settings.BASE_DIR), os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"DATABASE_URL": settings.DATABASE_URL, "ROWCAST_STREAMS": "homeser.published", "PYTHONPATH": path}
        done = subprocess.run([sys.executable, "-m", "gateway", "migrate"], env=environment, check=False)
        if done.returncode:
            raise CommandError("nothing was published, see the line above", returncode=done.returncode)
