"""Where a storage is: a URL that is read once, and shown without what is nobody's business."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from scalesearch.errors import InputError

RULE = "--storage is postgresql://USER@HOST/DATABASE or sqlite:///FILE"
# A server that does not answer is given up in time; a URL's own options come before these (libpq's names).
PATIENCE = {"connect_timeout": 5, "tcp_user_timeout": 10_000, "keepalives_idle": 10, "keepalives_interval": 5}
SECOND = 1000
STATEMENT = 30 * SECOND


@dataclass(frozen=True)
class Address:
    """A storage that can be connected to.

    Attributes:
        shown: the URL for people, without user, password and options.
        bare: the URL for SQLAlchemy without host, user, password and options.
        arguments: of the database's own `connect`, the password among them; never shown.
        file: of SQLite, else None.
    """

    dialect: Literal["postgresql", "sqlite"]
    shown: str
    bare: str
    arguments: dict[str, Any] = field(repr=False, default_factory=dict)
    file: Path | None = None


def read_address(text: str) -> Address:
    """Read the value of --storage.

    Raises InputError, which never repeats the value, for another kind of storage and a missing driver.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        # Parts of a mistyped URL would be shown by the error's own words, its password among them.
        raise InputError(f"{RULE}, but this is no URL") from error.with_traceback(None)
    kind = url.get_backend_name()
    if kind == "sqlite":
        return _sqlite(url)
    if kind in ("postgresql", "postgres"):
        return _postgresql(url)
    raise InputError(f"{RULE}, but this is {kind}")


def _sqlite(url: URL) -> Address:
    if not url.database or url.database == ":memory:":
        raise InputError(f"{RULE}, but this names no file")
    file = Path(url.database).absolute()
    if not file.parent.is_dir():
        raise InputError(f"--storage: there is no folder {file.parent} for {file.name}")
    return Address("sqlite", f"sqlite:///{file}", f"sqlite:///{file}", {}, file)


def _postgresql(url: URL) -> Address:
    try:
        import psycopg  # noqa: F401  # the dialect would load it and fail with other words
    except ImportError as error:
        needed = "pip install 'scalesearch[postgresql]'"
        raise InputError(f"--storage: PostgreSQL needs psycopg, which is not installed: {needed}") from error
    if not url.database:
        raise InputError(f"{RULE}, but this names no database")
    chosen = url.set(drivername="postgresql+psycopg")
    _, arguments = chosen.get_dialect()().create_connect_args(chosen)
    place = url.host or url.query.get("host") or "localhost"
    port = f":{url.port}" if url.port else ""
    limits = {"options": f"-c statement_timeout={STATEMENT}"}
    return Address(
        "postgresql",
        f"postgresql://{place}{port}/{url.database}",
        "postgresql+psycopg://",
        {**PATIENCE, **limits, **arguments},
    )
