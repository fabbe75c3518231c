"""The page of a run while it goes on: served by Dash, drawn by the same script as the file."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from string import Template
from threading import Lock
from urllib.parse import urlsplit

from dash import Dash, Input, Output, State, dcc, html, no_update
from flask import Response, abort, request
from plotly.offline import get_plotlyjs
from werkzeug.serving import BaseWSGIServer, make_server

from scalesearch.dashboard.content import Content
from scalesearch.dashboard.entries import packed
from scalesearch.dashboard.page import asset, body, hash_source, script, style
from scalesearch.errors import InputError

TITLE = "scalesearch"
POLL = 2.0  # seconds between two questions of a page
SHARE = 0.1  # of a core, at most, that drawing takes from the trainings
LOOPBACK = "127.0.0.1"
# What Dash itself asks for; it would answer all else with the page.
OWN_PATHS = (
    "/_dash-component-suites/dash/",
    "/_dash-dependencies",
    "/_dash-layout",
    "/_dash-update-component",
)
POLICY = (
    "default-src 'none'; script-src 'self' {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Source:
    """What the pages are given; it is drawn again when the record has grown, as often as SHARE allows."""

    def __init__(self, changed: Callable[[], bool], content: Callable[[], Content]) -> None:
        # `changed` reads what is new and says whether anything is; `content` draws what was read.
        self._changed, self._content, self._lock = changed, content, Lock()
        # A page may outlive the server that it came from, so a version is never one of an earlier server's.
        self._version, self._pending, self._not_before = int(time.time()), True, 0.0
        self._packed = ""

    def newer_than(self, version: int | None) -> tuple[int, str] | None:
        """Return the page's data with their version, or None where a page has the newest."""
        with self._lock:
            self._pending |= self._changed()
            if self._pending and time.monotonic() >= self._not_before:
                self._draw()
            return None if version == self._version else (self._version, self._packed)

    def _draw(self) -> None:
        started = time.monotonic()
        content = self._content()
        heading = {"title": content.title, "eyebrow": content.eyebrow, "notice": content.notice}
        self._packed = packed(content.for_script() | heading | {"screen": content.screen})
        self._version, self._pending = self._version + 1, False
        self._not_before = time.monotonic() + (time.monotonic() - started) / SHARE


@dataclass(frozen=True)
class Hosts:
    """The names by which a page may be asked for.

    Attributes:
        names: without a port, as `_plain_name` writes them. any_address: whether every IP address is one; no
            other site can make a browser take its page for one that was asked for by an address.
    """

    names: frozenset[str]
    any_address: bool = False

    def __contains__(self, host: str) -> bool:
        """Return whether the `Host` of a request, with or without a port, is one of them."""
        try:
            name = _plain_name(urlsplit(f"//{host}").hostname or "")
        except ValueError:  # a bracket without its other half
            return False
        return name in self.names or (self.any_address and _address(name) is not None)


def make_app(source: Source, hosts: Hosts) -> Dash:
    """Return the application; it answers requests for one of `hosts`.

    That keeps out pages of other sites that reach this address under a name of their own. The application
    reads and never writes, and has no folder of files.
    """
    app = Dash(
        "scalesearch",
        assets_folder="no-assets",
        include_assets_files=False,
        enable_mcp=False,
        title=TITLE,
        update_title="",
    )
    app.index_string = _index()
    stores = [dcc.Store(id=name) for name in ("version", "packed", "drawn")]
    app.layout = html.Div([dcc.Interval(id="tick", interval=1000 * POLL), *stores])
    app.callback(
        Output("version", "data"),
        Output("packed", "data"),
        Input("tick", "n_intervals"),
        State("version", "data"),
        # Dash drops an answer that is on its way once it has asked again.
        running=[(Output("tick", "disabled"), True, False)],
    )(lambda _ticks, version: source.newer_than(version) or (no_update, no_update))
    draw = "(text) => { if (text) window.scalesearchUpdate(text); return null; }"
    app.clientside_callback(draw, Output("drawn", "data"), Input("packed", "data"))
    _guard(app, hosts)
    return app


def _index() -> str:
    # No word of a run is in it: Dash would fill in its own names in braces.
    empty = Content(title=TITLE, eyebrow="", screen="", panels=())
    return Template(asset("live.html")).substitute(
        style=style(), body=body(empty), plotly=get_plotlyjs(), script=script()
    )


def _guard(app: Dash, hosts: Hosts) -> None:
    hashes = " ".join((*app.csp_hashes(), hash_source(get_plotlyjs()), hash_source(script())))
    headers = HEADERS | {"Content-Security-Policy": POLICY.format(hashes=hashes)}

    def refuse_others() -> None:
        if request.path != "/" and not request.path.startswith(OWN_PATHS):
            abort(404)
        origin = request.headers.get("Origin")
        if request.host not in hosts or (origin and origin.partition("://")[2] != request.host):
            abort(403)

    def restrict(response: Response) -> Response:
        response.headers.update(headers)
        return response

    app.server.before_request(refuse_others)
    app.server.after_request(restrict)


def hosts_of(address: str) -> Hosts:
    """Return the names by which a page that is served at an address may be asked for."""
    names = {"localhost", "127.0.0.1", "::1", _plain_name(address)}
    found = _address(address)
    if found is None or not found.is_unspecified:
        return Hosts(frozenset(names))
    return Hosts(frozenset(names | {_plain_name(socket.gethostname())}), any_address=True)


def _plain_name(name: str) -> str:
    found = _address(name)
    return name.lower() if found is None else str(found)


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None


@contextmanager
def served(app: Dash, address: str, port: int) -> Iterator[BaseWSGIServer]:
    """Bind a port, 0 for a free one, and give the server; its `serve_forever` ends at `shutdown`.

    Raises InputError where the address or the port cannot be had. Requests are not logged.
    """
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        bound = socket.create_server((address, port), family=family)
    except (OSError, OverflowError) as error:
        raise InputError(f"--serve: {address} port {port} cannot be had: {error}") from error
    with bound:
        # Told of a socket, werkzeug leaves errors of the port to whoever bound it.
        server = make_server(address, port, app.server, threaded=True, fd=bound.fileno())
        yield server
        server.server_close()
