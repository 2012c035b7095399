"""From a folder of photos to a page in the browser."""

from __future__ import annotations

import json
import secrets
import socket
import sys
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import uvicorn

from clicklab.annotate.app import Settings, build_app
from clicklab.annotate.desk import Desk
from clicklab.annotate.engine import Engine
from clicklab.annotate.imports import MaskFiles, import_masks
from clicklab.annotate.photos import Photos, list_photos
from clicklab.annotate.store import Store
from clicklab.inference.session import Session

KEYS_FILE = "keys.json"


@dataclass(frozen=True)
class Job:
    """What to annotate, and how.

    Attributes:
        photos: folder of photos.
        output: where annotations go; default: `clicklab` in the photos' folder.
        classes: names; those of earlier sessions stay.
        masks: folder or file of masks to correct, and how they are read (`imports`).
        network: how the network is called.
        host: None: this machine only. Else the address to listen on, and a token is asked for.
        port: 0: any free one.
        show: opens the browser.
    """

    photos: Path
    output: Path | None = None
    classes: Sequence[str] = ()
    masks: tuple[Path, MaskFiles] | None = None
    network: str = "network"
    host: str | None = None
    port: int = 8765
    show: bool = True


def serve(job: Job, load_session: Callable[[], Session]) -> None:
    """Serves until Ctrl-C.

    Args:
        job: what and how.
        load_session: gives a session of the network, without an image; called once per photo.

    Raises:
        FileNotFoundError: no such folder, or no photos in it.
        ValueError: the port is in use, another server is at work, or keys.json makes no sense.
    """
    output = (job.output or job.photos / "clicklab").resolve()
    paths, remarks = list_photos(job.photos.resolve(), output)
    listening = listen(job.host or "127.0.0.1", job.port)
    store = Store(output)
    try:
        keys = read_keys(output / KEYS_FILE)
        store.set_photos(paths)
        for name in [*job.classes] or ([] if store.classes() else ["object"]):
            store.add_class(name)
        if job.masks is not None:
            remarks += import_masks(store, job.photos.resolve(), *job.masks)
        for remark in remarks:
            print(f"clicklab: {remark}", file=sys.stderr)
        session = load_session()
    except BaseException:
        store.close()
        listening.close()
        raise
    photos = Photos(job.photos.resolve())
    desk = Desk(store, photos, Engine(lambda: Session(session.predictor), photos, job.network))
    token = None if job.host is None else secrets.token_urlsafe(24)
    threshold = session.predictor.mask_threshold
    settings = Settings(job.photos.resolve().name, job.network, threshold, keys, shared=job.host is not None)
    address = _address(job, listening.getsockname()[1], token)
    print(
        f"{len(paths)} photos, annotations in {output}\nopen {address}   (Ctrl-C ends; everything is saved)", flush=True
    )
    if job.show:
        webbrowser.open(address)
    config = uvicorn.Config(
        build_app(desk, settings, token),
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    uvicorn.Server(config).run(sockets=[listening])


def read_keys(path: Path) -> Mapping[str, list[str]]:
    """Action -> keys: the page's own, and instead of them those of a person's json.

    Raises:
        ValueError: naming the action that is unknown, or the key that stands for two.
    """
    usual = json.loads((files("clicklab.annotate") / "static" / "keys.json").read_text(encoding="utf-8"))
    if not path.is_file():
        return usual
    try:
        chosen = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not json ({error})") from error
    if not isinstance(chosen, dict):
        raise ValueError(f'{path}: must be an object of actions and keys, {{"finish": ["Enter"]}}')
    taken: dict[str, str] = {}
    for action, keys in chosen.items():
        if action not in usual:
            raise ValueError(f"{path}: there is no action {action!r}; there are {', '.join(usual)}")
        if not isinstance(keys, list) or not all(isinstance(key, str) and key for key in keys):
            raise ValueError(f'{path}: the keys of {action} must be a list of texts, ["Ctrl+z"]')
    for action, keys in (usual | chosen).items():
        for key in keys:
            if key in taken:
                raise ValueError(
                    f"{path}: {key} stands for {taken[key]} and for {action}; give one of them another key"
                )
            taken[key] = action
    return usual | chosen


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens already. Raises ValueError where the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(256)
    except OSError as error:
        listening.close()
        raise ValueError(
            f"port {port} of {host} cannot be had ({error.strerror}): give another one, --port 0 for any"
        ) from error
    except OverflowError as error:
        listening.close()
        raise ValueError(f"--port must be from 0 to 65535, not {port}") from error
    return listening


def _address(job: Job, port: int, token: str | None) -> str:
    if token is None:
        return f"http://127.0.0.1:{port}/"
    host = socket.gethostname() if job.host in ("0.0.0.0", "::") else job.host
    return f"http://{host}:{port}/?token={token}"
