"""`clicklab serve`: one server that speaks to Label Studio and X-AnyLabeling at once."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from clicklab.adapters.dialogues import Dialogues
from clicklab.adapters.images import MOST_BYTES
from clicklab.adapters.label_studio import LabelStudio
from clicklab.adapters.x_anylabeling import RequestError, XAnyLabeling

LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]", "host.docker.internal"})
MOST_SENT = MOST_BYTES * 4 // 3 + (1 << 20)  # bytes of a request: a picture in base64, and the rest


Refusal = Callable[[int, str, str], Response]  # status, code of X-AnyLabeling, sentence


def plain_error(status: int, code: str, sentence: str) -> Response:
    """Label Studio shows the text."""
    return PlainTextResponse(sentence, status)


def coded_error(status: int, code: str, sentence: str) -> Response:
    """X-AnyLabeling's form. Its own server says 200 with it; its client then shows nothing, so the status stays."""
    return JSONResponse({"success": False, "error": {"code": code, "message": sentence}}, status)


def build_app(dialogues: Dialogues, name: str, token: str = "", host: str = "", host_token: str = "") -> Starlette:
    """All routes.

    Args:
        dialogues: answer the clicks.
        name: of the network.
        token: asked of everybody but `/health`; empty: this machine only, and no token.
        host: Label Studio's address; empty: what it says itself.
        host_token: for images that lie there.
    """
    studio, remote = LabelStudio(dialogues, name, host, host_token), XAnyLabeling(dialogues, name)

    async def health(request: Request) -> Response:
        return JSONResponse(studio.health() | {"models_loaded": 1})

    async def models(request: Request) -> Response:
        return JSONResponse(remote.models())

    async def webhook(request: Request) -> Response:
        return JSONResponse({}, 201)  # nothing is learnt from annotations

    return Starlette(
        routes=[
            Route("/", health),
            Route("/health", health),
            Route("/metrics", lambda request: JSONResponse({})),
            Route("/setup", _answers(studio.setup, plain_error), methods=["POST"]),
            Route("/predict", _answers(studio.predict, plain_error), methods=["POST"]),
            Route("/webhook", webhook, methods=["POST"]),
            Route("/v1/models", models),
            Route("/v1/predict", _answers(remote.predict, coded_error), methods=["POST"]),
        ],
        middleware=[Middleware(Door, token=token)],
    )


def _answers(work: Callable[[Mapping[str, Any]], Any], refuse: Refusal) -> Callable:
    """A route: json in, `work` in a thread, json out, and every error in the tool's own form."""

    async def route(request: Request) -> Response:
        try:
            body = await _body(request)
            return JSONResponse(await run_in_threadpool(work, body))
        except RequestError as error:
            return refuse(422, error.code, str(error))
        except ValueError as error:
            return refuse(422, "INFERENCE_ERROR", str(error))
        except TimeoutError as error:
            return refuse(503, "QUEUE_FULL", str(error))
        except Exception as error:
            logging.getLogger(__name__).error("%s", request.url.path, exc_info=error)
            return refuse(500, "INFERENCE_ERROR", "something unforeseen happened; the terminal shows what")

    return route


async def _body(request: Request) -> dict[str, Any]:
    """The json object of a request. Raises ValueError."""
    parts, total = [], 0
    try:
        async for part in request.stream():
            total += len(part)
            if total > MOST_SENT:
                raise ValueError(f"more than {MOST_SENT >> 20} MB were sent at once")
            parts.append(part)
        body = json.loads(b"".join(parts) or b"{}")
    except ClientDisconnect as error:
        raise ValueError("the request was broken off") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError("the request is not json") from error
    if not isinstance(body, dict):
        raise ValueError("the request must be a json object")
    return body


class Door:
    """Who may ask: without a token only this machine, and no page that a browser shows; with a token who has it."""

    def __init__(self, app: ASGIApp, token: str = "") -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and (sentence := self._refusal(Request(scope))):
            status = 401 if self.token else 403
            refuse = coded_error if scope["path"].startswith("/v1/") else plain_error
            await refuse(status, "UNAUTHORIZED", sentence)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _refusal(self, request: Request) -> str | None:
        headers = request.headers
        if "origin" in headers:  # annotation tools ask from their servers or windows, never from a page
            return "a page in a browser may not ask here"
        if not self.token:
            name = urlsplit(f"//{headers.get('host', '')}").hostname or ""
            local = name in LOCAL_NAMES or f"[{name}]" in LOCAL_NAMES
            return None if local else "this server answers on this machine only; start it with --host to let others in"
        if request.url.path in ("/", "/health"):
            return None
        given = (headers.get("token", ""), *_authorized(headers.get("authorization", "")))
        known = any(hmac.compare_digest(one.encode(), self.token.encode()) for one in given)
        return None if known else "the token is missing or wrong: `clicklab serve` printed it"


def _authorized(header: str) -> list[str]:
    """Tokens of an Authorization header: a bearer, or the password of the basic form, which Label Studio sends."""
    kind, _, value = header.partition(" ")
    if kind.lower() == "bearer":
        return [value]
    if kind.lower() == "basic":
        try:
            return [base64.b64decode(value).decode().partition(":")[2]]
        except (binascii.Error, UnicodeDecodeError):
            return []
    return []
