"""Pictures as requests bring them: base64, a data URI, or an address to fetch."""

from __future__ import annotations

import base64
import binascii
import json
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import Request, urlopen

import numpy as np

from clicklab.annotate.photos import decode

MOST_BYTES = 64 << 20  # of a picture's file
SECONDS = 20.0  # for a picture to arrive


def from_base64(text: object) -> bytes:
    """The file in a base64 text or `data:...;base64,` URI.

    Raises:
        ValueError: there is none, or it is not base64.
    """
    if not isinstance(text, str) or not text:
        raise ValueError("the image is missing: send it as base64 text or a data URI")
    packed = text.split(",", 1)[1] if text.startswith("data:") and "," in text else text
    try:
        return base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("the image is not base64") from error


def pixels_of(content: bytes) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a file's content, turned as EXIF says.

    Raises:
        ValueError: not an image, damaged, or too large.
    """
    return decode(content, "the image")


def fetch(address: str, host: str = "", token: str = "") -> bytes:
    """A picture's file.

    Args:
        address: http(s), a data URI, or a path on `host`.
        host: where paths lead, such as `http://127.0.0.1:8080`.
        token: shown to `host` and to nobody else. A personal access token of Label Studio (a JWT) is exchanged first.

    Raises:
        ValueError: another kind of address, it cannot be reached, or too much comes back.
    """
    if address.startswith("data:"):
        return from_base64(address)
    full = urljoin(host, address) if host else address
    if urlsplit(full).scheme not in ("http", "https"):
        hint = "" if host else "; is it a path on the tool's server, whose address is not known here?"
        raise ValueError(f"the image {address[:100]} cannot be fetched: only http and https can be{hint}")
    request = Request(full)
    if token and urlsplit(full).netloc == urlsplit(host).netloc:
        request.add_unredirected_header("Authorization", authorization(host, token))
    return _read(request, address)


def authorization(host: str, token: str) -> str:
    """The header of a token; a JWT is a refresh token, which gives a short-lived one."""
    if token.count(".") != 2:
        return f"Token {token}"
    body = json.dumps({"refresh": token}).encode()
    asked = Request(urljoin(host, "/api/token/refresh"), body, {"content-type": "application/json"})
    return f"Bearer {json.loads(_read(asked, 'the access token'))['access']}"


def _read(request: Request, name: str) -> bytes:
    try:
        with urlopen(request, timeout=SECONDS) as answer:
            content = answer.read(MOST_BYTES + 1)
    except HTTPError as error:
        hint = " (is the token right?)" if error.code in (401, 403) else ""
        raise ValueError(f"{name[:100]} cannot be fetched: HTTP {error.code}{hint}") from error
    except (URLError, OSError, ValueError) as error:
        raise ValueError(f"{name[:100]} cannot be fetched: {getattr(error, 'reason', error)}") from error
    if len(content) > MOST_BYTES:
        raise ValueError(f"{name[:100]} is larger than {MOST_BYTES >> 20} MB")
    return content
