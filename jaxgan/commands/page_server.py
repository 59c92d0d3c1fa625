"""Serves the page on this machine, and to this machine alone."""

import contextlib
import errno
import http.server
import re
import socketserver
import urllib.parse

from jaxgan.commands.page_site import Site

HOST = "127.0.0.1"
# What an address of this machine says. The port may be another one, forwarded to this.
OWN_HOSTS = re.compile(r"(127\.0\.0\.1|localhost)(:\d+)?", re.IGNORECASE)
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "gz": "application/octet-stream",  # the page unpacks it, and a browser should not
    "onnx": "application/octet-stream",
}


class Server(socketserver.ThreadingTCPServer):
    """Answers requests for the files of a site.

    Args:
      site: the page.
      port: where; 0 for a free one.

    Raises:
      ValueError: if the port cannot be had.
    """

    allow_reuse_address = True  # of a server that has just ended
    daemon_threads = True

    def __init__(self, site: Site, port: int):
        self.site = site
        try:
            super().__init__((HOST, port), Handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                why = "is taken by another program: choose another, or 0 for a free one"
            else:
                why = f"cannot be had: {error.strerror}"
            raise ValueError(f"--port={port} {why}.") from error

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://{HOST}:{self.server_address[1]}/"


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends a file of the site. Paths are looked up among its names, and never on the disk."""

    server: Server

    def do_GET(self) -> None:
        """Sends a file, or says why not.

        A website may let its name point to this machine, and so read what is here as its own. The
        browser then sends that name.
        """
        host = self.headers.get("Host", "")
        if not OWN_HOSTS.fullmatch(host):
            self._send(403, f"open this page at 127.0.0.1 or localhost, not {host!r}\n".encode())
            return
        name = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).removeprefix("/")
        name = name or "index.html"
        try:
            make = self.server.site.find(name)
            if make is None:
                self._send(404, b"the page has no such file\n")
            else:
                self._send(200, make(), TYPES.get(name.rpartition(".")[2], ""))
        except (ValueError, OSError) as error:  # a folder that is gone or cannot be read
            self._send(500, f"{error}\n".encode())

    do_HEAD = do_GET

    def _send(self, status, content, kind=""):
        with contextlib.suppress(ConnectionError):  # a reader that has left
            self.send_response(status)
            self.send_header("Content-Type", kind or "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")  # a reload shows the newest data
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    def log_message(self, *arguments) -> None:
        """Says nothing: a line for each file helps nobody."""
