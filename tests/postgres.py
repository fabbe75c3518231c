"""A real PostgreSQL, as Debian's package `postgresql` has it, for as long as a test needs it."""

import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PR_SET_PDEATHSIG = 1
NOBODY_ELSE = 0o700
STARTING = 60.0  # seconds; a busy machine takes some


def programs() -> Path | None:
    """Return the folder of the newest server's programs, or None where none is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3]))
    if found:
        return found[-1].parent
    elsewhere = shutil.which("initdb")
    return Path(elsewhere).resolve().parent if elsewhere else None


def _identity() -> dict[str, object]:
    """Return how its processes are started: the server refuses to run as root."""
    root = os.geteuid() == 0
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if root else {}


def _die_with_parent() -> None:
    # After the change of user, which would undo it. SIGQUIT: without a shutdown that waits.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


class Server:
    """A server on a free port of this machine, with a password, in a folder of its own."""

    user = "ada_of_tests"

    def __init__(self, folder: Path, programs: Path, durable: bool) -> None:
        self.folder, self.programs, self.durable = folder, programs, durable
        self.password = f"p:/@%?#{{}}{secrets.token_hex(8)}"  # whatever needs an escape in a URL
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def create(self) -> None:
        """Make the cluster of databases."""
        file = self.folder / "password"
        file.write_text(self.password)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            shutil.chown(file, "postgres", "postgres")
        command = [self.programs / "initdb", "-D", self.folder / "data", "-U", self.user]
        command += ["--auth=scram-sha-256", f"--pwfile={file}", "--no-sync", "--encoding=UTF8", "--locale=C"]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **_identity())

    def start(self) -> None:
        """Start the server and wait until it answers."""
        durable = "on" if self.durable else "off"
        options = [f"port={self.port}", f"unix_socket_directories={self.folder}", f"fsync={durable}"]
        options += ["listen_addresses=127.0.0.1", "max_connections=120"]
        command = [self.programs / "postgres", "-D", self.folder / "data"]
        command += [part for option in options for part in ("-c", option)]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, preexec_fn=_die_with_parent, **_identity()
            )
        ready = [self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        deadline = time.monotonic() + STARTING
        while subprocess.run(ready, check=False).returncode:
            assert self.process.poll() is None, "the server ended while it started"
            assert time.monotonic() < deadline, f"the server did not start in {STARTING:g} s"
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it at once, as if its machine had lost its power."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()

    def url(self, password: str | None = "", database: str = "postgres", port: int | None = None) -> str:
        """Return the URL with this password, the right one by default, or with none (None)."""
        from urllib.parse import quote

        shown = "" if password is None else f":{quote(password or self.password, safe='')}"
        return f"postgresql://{self.user}{shown}@127.0.0.1:{port or self.port}/{database}"


@contextmanager
def running(programs: Path, durable: bool = False) -> Iterator[Server]:
    """Run a server; a durable one waits for its disk at every commit, as a team's does."""
    # Not pytest's own folder: the server's user must be able to get there, and a socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="scalesearch_postgres_"))
    folder.chmod(NOBODY_ELSE)
    server = Server(folder, programs, durable)
    try:
        server.create()
        server.start()
        yield server
    finally:
        if hasattr(server, "process") and server.process.poll() is None:
            server.stop()
        shutil.rmtree(folder)
        Path(f"{folder}.log").unlink(missing_ok=True)
