"""A real PostgreSQL for tests: a cluster of its own on a socket in a temporary folder, and nobody else's."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest

WANTS = "wants PostgreSQL (Debian: postgresql)"


class PostgreSql:
    """One cluster. Where the tests are root, which it refuses to be run by, an unprivileged user runs it."""

    def __init__(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not found:
            pytest.skip(WANTS)
        self._programs = found[-1].parent
        self._folder = Path(tempfile.mkdtemp(prefix="strongroom-postgresql-"))
        self._user = next((name for name in ("postgres", "nobody") if _exists(name)), "nobody")
        if os.getuid() == 0:
            shutil.chown(self._folder, self._user)
        data = self._folder / "data"
        self._run("initdb", "-D", str(data), "-U", "strongroom", "--auth=trust", "--no-sync", "-E", "UTF8")
        options = f"-k {self._folder} -c listen_addresses='' -c fsync=off -c max_connections=60"
        self._run("pg_ctl", "-D", str(data), "-w", "-o", options, "-l", str(self._folder / "log"), "start")
        self._count = 0

    def database(self) -> str:
        """The URL of a new, empty database, whose own collation is not by code point."""
        self._count += 1
        name = f"index{self._count}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'")
        return self._url(name)

    def stop(self) -> None:
        """End the cluster, and remove it."""
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "-w", "stop")
        shutil.rmtree(self._folder)

    def _url(self, database: str) -> str:
        return f"postgresql:///{database}?host={self._folder}&user=strongroom"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if os.getuid() == 0:
            command = ["setpriv", f"--reuid={self._user}", "--regid=nogroup", "--clear-groups", *command]
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            command, cwd=self._folder, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
