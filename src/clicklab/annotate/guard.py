"""The door: who may ask, from where, how much. A plain ASGI layer round the routes.

Without `--host` the server listens on this machine only; a page of a foreign site that the browser shows at the same
time is kept out by its Origin, a foreign name that points here by its Host. With `--host` everybody needs the token.
"""

from __future__ import annotations

import hmac
import json
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 2_000_000  # of a request's body: 20 000 points of a stroke take about 1 MB
LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
COOKIE = "clicklab_token"
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Refuses what must not come in, and says on every answer what a browser may do with it.

    Args:
        app: what is guarded.
        token: asked of everybody; None: this machine only, and no token.
    """

    def __init__(self, app: ASGIApp, token: str | None = None) -> None:
        self.app = app
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        if self.token is not None and (given := _query_token(scope)) is not None:
            await self._welcome(scope, send, given)
            return
        await self.app(scope, _bounded(receive), _with_headers(send))

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Status and sentence, None for a request that may come in."""
        host = headers.get("host", "")
        if self.token is None and _name_of(host) not in LOCAL_NAMES:
            return 403, "this server answers on this machine only; start it with --host to let others in"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "a page of another site may not ask here"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and scope["path"] != "/":
            return 403, "a page of another site may not ask here"
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            return 400, "content-length must be a number"
        if int(length) > MOST_BYTES:
            return 413, f"at most {MOST_BYTES} bytes may be sent at once"
        if self.token is not None and _query_token(scope) is None and not self._knows_token(headers):
            return 401, "this page needs the token: open the address that `clicklab annotate` printed"
        return None

    def _knows_token(self, headers: dict[str, str]) -> bool:
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        return self._equal(bearer) or self._equal(_cookie(headers.get("cookie", "")))

    def _equal(self, given: str) -> bool:
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())

    async def _welcome(self, scope: Scope, send: Send, given: str) -> None:
        """The token in the address becomes a cookie, and leaves the address."""
        if not self._equal(given):
            await _refuse(send, 401, "this is not the token: open the address that `clicklab annotate` printed")
            return
        cookie = f"{COOKIE}={given}; HttpOnly; SameSite=Strict; Path=/"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode())]
        await _with_headers(send)({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


class TooMuch(Exception):
    """A body without a length turned out too long."""


def _bounded(receive: Receive) -> Receive:
    """Counts what comes in."""
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > MOST_BYTES:
            raise TooMuch
        return message

    return counted


def _with_headers(send: Send) -> Send:
    async def answered(message: Message) -> None:
        if message["type"] == "http.response.start":
            extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await send(message)

    return answered


async def _refuse(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"error": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers.append((b"connection", b"close"))  # the body of a refused request is not read
    await _with_headers(send)({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _query_token(scope: Scope) -> str | None:
    if scope["path"] != "/":
        return None
    return next(iter(parse_qs(scope["query_string"].decode("latin-1")).get("token", [])), None)


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _name_of(host: str) -> str:
    """The name of `name:port`."""
    return host[: host.rindex("]") + 1] if host.startswith("[") and "]" in host else host.split(":", 1)[0]
