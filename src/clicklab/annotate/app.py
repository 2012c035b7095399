"""The routes: json in, json out; each is a few lines over `Desk`."""

from __future__ import annotations

import gzip
import json
import logging
import sqlite3
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clicklab.annotate.desk import Desk, Person
from clicklab.annotate.events import BadRequest, parse_event, parse_key, parse_threshold
from clicklab.annotate.exports import FORMATS, packed
from clicklab.annotate.guard import Guard, TooMuch
from clicklab.annotate.photos import UnreadablePhoto
from clicklab.annotate.store import Conflict

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
MOST_CLASSES = 500


@dataclass(frozen=True)
class Settings:
    """What the page is told at its start.

    Attributes:
        title: name of the photos' folder.
        network: the network's name.
        threshold: its own.
        keys: action -> keys where a person wants other ones than the page's own.
        shared: several people work here, so the page asks for a name.
    """

    title: str
    network: str
    threshold: float
    keys: Mapping[str, list[str]] = field(default_factory=dict)
    shared: bool = False


def build_app(desk: Desk, settings: Settings, token: str | None = None) -> Guard:
    """The whole application, its door included."""
    routes = Routes(desk, settings)

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncGenerator[None]:
        yield
        desk.close()

    table = [
        Route("/", routes.page),
        Route("/static/{name}", routes.static),
        Route("/photo/{photo:int}", routes.picture),
        Route("/api/start", routes.start),
        Route("/api/health", routes.health),
        Route("/api/photos", routes.photos),
        Route("/api/photos/{photo:int}/open", routes.open_photo, methods=["POST"]),
        Route("/api/photos/{photo:int}/lease", routes.lease, methods=["POST"]),
        Route("/api/photos/{photo:int}/release", routes.release, methods=["POST"]),
        Route("/api/photos/{photo:int}/state", routes.set_state, methods=["POST"]),
        Route("/api/classes", routes.add_class, methods=["POST"]),
        Route("/api/objects", routes.add_object, methods=["POST"]),
        Route("/api/objects/{object:int}/class", routes.set_class, methods=["POST"]),
        Route("/api/objects/{object:int}/events", routes.event, methods=["POST"]),
        Route("/api/objects/{object:int}/preview", routes.preview, methods=["POST"]),
        Route("/api/objects/{object:int}/candidates", routes.candidates),
        Route("/api/export/{format}", routes.export),
    ]
    handlers: dict[Any, Callable] = {kind: partial(_answer_error, status) for kind, status in STATUS.items()}
    handlers[HTTPException] = _answer_http
    handlers[Exception] = _answer_surprise
    return Guard(Starlette(routes=table, exception_handlers=handlers, lifespan=life), token)


class Routes:
    """See `build_app`."""

    def __init__(self, desk: Desk, settings: Settings) -> None:
        self.desk, self.settings = desk, settings
        folder = files("clicklab.annotate") / "static"
        self.files = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}

    def _person(self, request: Request) -> Person:
        """Who asks. Raises BadRequest where a shared server cannot tell."""
        name = unquote(request.headers.get("x-clicklab-name", ""))[:40]  # headers hold ASCII: sent as in an address
        if not self.settings.shared:
            return Person("here", name)  # all windows on one's own machine are one person's
        person_id = request.headers.get("x-clicklab-person", "")
        if not 1 <= len(person_id) <= 64 or not person_id.isascii():
            raise BadRequest("the header x-clicklab-person is missing: reload the page")
        return Person(person_id, name)

    async def page(self, request: Request) -> Response:
        """The one page."""
        return self._file("index.html")

    async def static(self, request: Request) -> Response:
        """A file of the page, by its name among those read at the start: no path reaches the disk."""
        return self._file(request.path_params["name"])

    def _file(self, name: str) -> Response:
        if name not in self.files:
            raise HTTPException(404, "there is no such page")
        kind = TYPES.get(name[name.rfind(".") :], "application/octet-stream")
        return Response(self.files[name], media_type=kind, headers={"cache-control": "no-cache"})

    async def health(self, request: Request) -> Response:
        """Whether the server works, and how much waits."""
        return JSONResponse({"ok": True, "waiting": self.desk.engine.waiting()})

    async def start(self, request: Request) -> Response:
        """What the page needs before anything else."""
        classes = await run_in_threadpool(self.desk.store.classes)
        known = self.settings
        return JSONResponse(
            {
                "store": await run_in_threadpool(lambda: self.desk.store.identity),
                "title": known.title,
                "network": known.network,
                "threshold": known.threshold,
                "keys": dict(known.keys),
                "shared": known.shared,
                "formats": list(FORMATS),
                "classes": [{"id": class_id, "name": name} for class_id, name in classes.items()],
            }
        )

    async def photos(self, request: Request) -> Response:
        """The list, all of it or those of one state."""
        rows = await run_in_threadpool(self.desk.photo_list)
        state = request.query_params.get("state")
        return JSONResponse([row for row in rows if state in (None, row["state"])])

    async def open_photo(self, request: Request) -> Response:
        """A photo with its objects; `ahead` names the one to be read next."""
        body, person = await _json(request), self._person(request)
        found = await run_in_threadpool(self.desk.open_photo, _id(request, "photo"), person)
        await run_in_threadpool(self.desk.prepare, body.get("ahead"))
        return _packed(request, found)

    async def lease(self, request: Request) -> Response:
        """Still at work on it."""
        person = self._person(request)
        photo = await run_in_threadpool(self.desk.store.lease, _id(request, "photo"), person.id, person.name)
        return JSONResponse({"until": photo.held_until})

    async def release(self, request: Request) -> Response:
        """Done with it. The page may be gone before it can set a header, so the person may stand in the address."""
        person = request.query_params.get("person") or self._person(request).id
        await run_in_threadpool(self.desk.release, _id(request, "photo"), person)
        return JSONResponse({})

    async def set_state(self, request: Request) -> Response:
        """`todo`, `doing`, `done` or `skipped`."""
        body, person = await _json(request), self._person(request)
        await run_in_threadpool(self.desk.set_state, _id(request, "photo"), str(body.get("state")), person)
        return JSONResponse({})

    async def add_class(self, request: Request) -> Response:
        """A new class, or the one that has this name."""
        name = (await _json(request)).get("name")
        if not isinstance(name, str) or not 1 <= len(name.strip()) <= 100 or not name.isprintable():
            raise BadRequest("a class needs a name of 1 to 100 characters")
        if len(self.desk.store.classes()) >= MOST_CLASSES:
            raise BadRequest(f"there are {MOST_CLASSES} classes already")
        class_id = await run_in_threadpool(self.desk.store.add_class, name.strip())
        return JSONResponse({"id": class_id, "name": name.strip()})

    async def add_object(self, request: Request) -> Response:
        """A new object on a photo."""
        body, person = await _json(request), self._person(request)
        photo, class_id, key = _whole(body, "photo"), _whole(body, "class"), parse_key(body.get("key"))
        return JSONResponse(await run_in_threadpool(self.desk.add_object, photo, class_id, key, person))

    async def set_class(self, request: Request) -> Response:
        """Another class for an object."""
        body, person = await _json(request), self._person(request)
        found = await run_in_threadpool(self.desk.set_class, _id(request, "object"), _whole(body, "class"), person)
        return JSONResponse(found)

    async def event(self, request: Request) -> Response:
        """One thing that somebody did to an object; answered when it is on the disk."""
        body, person = await _json(request), self._person(request)
        object_id = _id(request, "object")
        size = await run_in_threadpool(self.desk.size_of, object_id)
        event, number = parse_event(body, size), _whole(body, "number")
        return _packed(request, await run_in_threadpool(self.desk.take, object_id, event, number, person))

    async def preview(self, request: Request) -> Response:
        """The last answer at another threshold; nothing is written."""
        value = parse_threshold(await _json(request))
        mask = await run_in_threadpool(self.desk.preview, _id(request, "object"), value)
        return _packed(request, {"mask": mask})

    async def candidates(self, request: Request) -> Response:
        """All masks answered to the last click."""
        return _packed(request, await run_in_threadpool(self.desk.candidates, _id(request, "object")))

    async def picture(self, request: Request) -> Response:
        """A photo, or a part of it, as JPEG: `?side=160`, or `?box=left,top,right,bottom&w=800`."""
        query = request.query_params
        found = await run_in_threadpool(
            self.desk.picture, _id(request, "photo"), query.get("side"), query.get("box"), query.get("w")
        )
        picture, tag = found
        headers = {"etag": f'"{tag}"', "cache-control": "private, no-cache"}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(picture, media_type="image/jpeg", headers=headers)

    async def export(self, request: Request) -> Response:
        """Everything as it stands, in one file: `coco`, `png`, `yolo`, `labelme` or `clicks`."""
        form = request.path_params["format"]
        if form not in FORMATS:
            raise HTTPException(404, f"format must be one of {', '.join(FORMATS)}")
        name, kind, content = await run_in_threadpool(packed, self.desk.store, form)
        return Response(content, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})


def packed_json(record: dict[str, Any]) -> bytes:
    """Masks of large photos take tens of kilobytes as text, and half of that packed."""
    return gzip.compress(json.dumps(record, separators=(",", ":")).encode(), compresslevel=4)


def _packed(request: Request, record: dict[str, Any]) -> Response:
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return JSONResponse(record)
    headers = {"content-encoding": "gzip", "vary": "accept-encoding"}
    return Response(packed_json(record), media_type="application/json", headers=headers)


async def _json(request: Request) -> dict[str, Any]:
    """The body. Raises BadRequest where it is no json object."""
    try:
        body = json.loads(await request.body() or b"{}")
    except ClientDisconnect as error:  # a tab was closed in the middle of it
        raise BadRequest("the request was broken off") from error
    except (ValueError, RecursionError) as error:
        raise BadRequest("the body is not json") from error
    if not isinstance(body, dict):
        raise BadRequest("the body must be a json object")
    return body


def _id(request: Request, name: str) -> int:
    number = request.path_params[name]
    if number >= 2**63:  # SQLite's integers end there
        raise KeyError(f"there is no {name} {number}")
    return number


def _whole(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise BadRequest(f"{name} must be a whole number")
    return value


STATUS: dict[type[Exception], int] = {
    BadRequest: 400,
    UnreadablePhoto: 422,
    KeyError: 404,
    Conflict: 409,
    TooMuch: 413,
    ValueError: 422,
    TimeoutError: 503,
    sqlite3.OperationalError: 507,
}


async def _answer_error(status: int, request: Request, error: Exception) -> Response:
    sentence = str(error.args[0]) if error.args else type(error).__name__
    if isinstance(error, TooMuch):
        sentence = "too much was sent at once"
    if isinstance(error, sqlite3.OperationalError):
        sentence = f"the store cannot be written ({error}): make room on the disk; everything before this is kept"
    if isinstance(error, TimeoutError):
        sentence = "the network took too long: try again, or start with a smaller network"
    return JSONResponse({"error": sentence}, status)


async def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _answer_surprise(request: Request, error: Exception) -> Response:
    logging.getLogger(__name__).error("%s %s", request.method, request.url.path, exc_info=error)
    return JSONResponse({"error": "something unforeseen happened; the terminal shows what. Nothing is lost"}, 500)
