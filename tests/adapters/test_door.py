"""Who may ask the server, and how much."""

from __future__ import annotations

import base64

import pytest
from starlette.testclient import TestClient

from clicklab.adapters import app as module
from clicklab.adapters.app import build_app
from clicklab.adapters.dialogues import Dialogues
from clicklab.commands.main import main


def test_without_a_token_only_this_machine_and_no_page(client):
    assert client.get("/v1/models").status_code == 200
    assert client.get("/v1/models", headers={"host": "evil.example"}).status_code == 403
    assert client.get("/health", headers={"host": "[::1]:8000"}).status_code == 200
    assert client.post("/predict", json={}, headers={"origin": "http://evil.example"}).status_code == 403


@pytest.mark.parametrize(
    "header, allowed",
    [
        ({"token": "secret"}, True),
        ({"authorization": "Bearer secret"}, True),
        ({"authorization": f"Basic {base64.b64encode(b'any:secret').decode()}"}, True),
        ({"authorization": "Basic %%%"}, False),
        ({"token": "other"}, False),
        ({}, False),
    ],
)
def test_with_a_token_whoever_has_it(network, header, allowed):
    client = TestClient(build_app(Dialogues(network), "toy", token="secret"), base_url="http://far.example")
    assert client.get("/health").status_code == 200
    assert client.get("/v1/models", headers=header).status_code == (200 if allowed else 401)


def test_too_much_is_refused(client, monkeypatch):
    monkeypatch.setattr(module, "MOST_SENT", 1 << 20)
    answer = client.post("/predict", content=b" " * (2 << 20))
    assert answer.status_code == 422 and "at once" in answer.text


def test_the_command_says_what_is_wrong_in_a_line(capsys):
    assert main(["serve", "/no/such/file.pth", "--port", "0"]) == 2
    said = capsys.readouterr().err.strip()
    assert "/no/such/file.pth" in said and "\n" not in said
