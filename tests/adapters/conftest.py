"""A network without weights behind the adapters, and a picture to click on."""

from __future__ import annotations

import pytest
from pictures import Picture
from starlette.testclient import TestClient
from toys import Staged

from clicklab.adapters.app import build_app
from clicklab.adapters.dialogues import Dialogues


@pytest.fixture
def picture():
    return Picture()


@pytest.fixture
def network():
    return Staged()


@pytest.fixture
def client(network):
    return TestClient(build_app(Dialogues(network), "toy"), base_url="http://127.0.0.1")
