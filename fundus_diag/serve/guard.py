"""Who may ask, and how much they may send."""

import asyncio
import contextlib
import ipaddress
import secrets
import socket

from fundus_diag.imaging.header import MAX_BYTES

MAX_BODY = 2 * (4 * MAX_BYTES // 3) + 2**20  # two of the heaviest photographs in base64
MAX_TOGETHER = 2**30  # bytes of all bodies that are being read or answered
IDLE = 20.0  # s without a byte of a body
LONGEST = 300.0  # s for all of it
COOKIE = "fundus_diag_token"


class Refused(Exception):
    """A request that is not answered.

    Attributes:
        status: HTTP.
        headers: to send with it.
    """

    def __init__(self, status, reason, headers=None):
        super().__init__(reason)
        self.status, self.headers = status, headers or {}


class Room:
    """How many bytes of bodies may be there at once."""

    def __init__(self, size=MAX_TOGETHER):
        self.free = size

    @contextlib.asynccontextmanager
    async def body(self, request, limit=MAX_BODY):
        """Yields the body of a request, whose bytes count as long as the block lasts.

        Raises:
            Refused: it is larger than `limit`, comes too slowly, or there is no room for it.
        """
        declared = request.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared) > limit:
            raise _too_large(limit)
        taken = 0
        try:
            parts, stream = [], request.stream()
            try:
                async with asyncio.timeout(LONGEST):
                    while True:
                        part = await asyncio.wait_for(anext(stream, b""), IDLE)
                        if not part:
                            break
                        if taken + len(part) > limit:
                            raise _too_large(limit)
                        if self.free < len(part):
                            raise busy()
                        self.free -= len(part)
                        taken += len(part)
                        parts.append(part)
            except TimeoutError as error:
                raise Refused(408, "the request came too slowly") from error
            yield b"".join(parts)
        finally:
            self.free += taken


def busy():
    """The answer where too much is waiting."""
    return Refused(503, "too many requests are waiting; try again", {"Retry-After": "1"})


def _too_large(limit):
    # What is still on its way is not read: the connection ends.
    return Refused(413, f"a request of more than {limit / 2**20:.0f} MB", {"Connection": "close"})


def is_loopback(host):
    """Whether an address to listen on is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def known_hosts(host, names=()):
    """Names that requests may give this machine: those of the address, and `names`."""
    found = {"localhost", "127.0.0.1", "[::1]", *(name.lower() for name in names)}
    if not is_loopback(host):
        own = socket.gethostname().lower()
        found |= {own, own.partition(".")[0]}
        with contextlib.suppress(OSError):
            found |= set(socket.gethostbyname_ex(own)[2])
    if host not in ("0.0.0.0", "::"):
        found.add(f"[{host}]" if ":" in host else host.lower())
    return found


def check(request, hosts, token=None):
    """Raises `Refused` where a request is not for this server, from another site, or not allowed.

    Args:
        request: of Starlette.
        hosts: of `known_hosts`: a page of another name that leads here could read the answers.
        token: that has to be sent as `Authorization: Bearer TOKEN` or as the cookie; None: nobody
            is asked.
    """
    host = request.headers.get("host", "")
    name = host.rpartition(":")[0] if _has_port(host) else host
    if name.lower() not in hosts:
        raise Refused(400, "Host: not a name of this server; --allow-host names others")
    if request.method not in ("GET", "HEAD"):
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            raise Refused(403, "sent by a page of another site")
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Refused(403, "sent by a page of another site")
    if token is not None and not _knows(request, token):
        headers = {"WWW-Authenticate": "Bearer"}
        raise Refused(401, "a token is needed: Authorization: Bearer TOKEN", headers)


def _has_port(host):
    return host.rpartition(":")[2].isdigit() and not host.endswith("]")


def _knows(request, token):
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    given = sent if scheme.lower() == "bearer" else request.cookies.get(COOKIE, "")
    return same(given, token)


def same(given, token):
    """Whether two tokens are the same, in a time that tells nothing of where they differ."""
    return secrets.compare_digest(given.encode(), token.encode())
