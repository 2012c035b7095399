"""Long runs: many kills of the server, many people, many hostile requests over a real socket.

pytest tests/annotate/test_endurance.py -m slow          # 200 kills; CLICKLAB_KILLS=20 for fewer
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from conftest import draw_photo

from clicklab.annotate.store import Store

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("CLICKLAB_KILLS", "200"))
KILLS_OF_AN_OBJECT = 10  # then another one: a new server plays the clicks of an object again
PEOPLE = int(os.environ.get("CLICKLAB_PEOPLE", "100"))
HELPERS = Path(__file__).parents[1] / "helpers"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def start(photos, port):
    """The server as a process; returns when it listens."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HELPERS), *sys.path])}
    command = [sys.executable, HELPERS / "annotate_server.py", photos, str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    while b"open http" not in (line := process.stdout.readline()):
        assert line, "the server ended"
    return process


def ask(port, address, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{address}", data)
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


def click_until_it_dies(port, found, acknowledged, generator):
    """Clicks, undoes and redoes; an event that was answered is noted."""
    while True:
        number = len(acknowledged)
        body = {"key": f"key-{found['id']}-{number:08}", "number": number, "kind": "click"}
        if found["undo"] and generator.random() < 0.2:
            body["kind"] = "undo"
        else:
            body |= {"y": generator.randrange(64), "x": generator.randrange(96), "positive": generator.random() < 0.7}
        try:
            found = ask(port, f"/api/objects/{found['id']}/events", body)
        except (OSError, urllib.error.URLError, ValueError):
            return
        acknowledged.append((body["key"], found["mask"] and found["mask"]["counts"]))


@pytest.mark.timeout(7200)
def test_killed_servers_lose_no_acknowledged_event(tmp_path):
    draw_photo(tmp_path / "photos" / "a.png")
    port, generator = free_port(), random.Random(0)
    dialogues: dict[int, list] = {}  # object -> events that were answered
    for turn in range(KILLS):
        process = start(tmp_path / "photos", port)
        opened = ask(port, "/api/photos/1/open", {})
        if turn % KILLS_OF_AN_OBJECT == 0:
            found = ask(port, "/api/objects", {"photo": 1, "class": 1, "key": f"object-{turn:04}"})
        else:
            found = opened["objects"][-1]
        acknowledged = dialogues.setdefault(found["id"], [])
        # the last one may have been written and not answered
        assert found["number"] - len(acknowledged) in (0, 1)
        if found["number"] > len(acknowledged):
            acknowledged.append(
                (f"key-{found['id']}-{len(acknowledged):08}", found["mask"] and found["mask"]["counts"])
            )
        elif acknowledged:
            assert (found["mask"] and found["mask"]["counts"]) == acknowledged[-1][1]
        worker = threading.Thread(target=click_until_it_dies, args=(port, found, acknowledged, generator))
        worker.start()
        wanted = len(acknowledged) + generator.randrange(10)
        while len(acknowledged) < wanted:
            time.sleep(0.001)
        time.sleep(generator.uniform(0.0, 0.05))  # somewhere in the next one
        process.send_signal(signal.SIGKILL)
        process.wait()
        worker.join()
    store = Store(tmp_path / "photos" / "clicklab")
    written = {number: [event.key for event in store.events(number)] for number in dialogues}
    store.close()
    for number, acknowledged in dialogues.items():
        assert written[number][: len(acknowledged)] == [key for key, _ in acknowledged]
    events, answered = (sum(map(len, found.values())) for found in (written, dialogues))
    print(f"{KILLS} kills, {events} events, {answered} acknowledged, none lost")


@pytest.mark.timeout(7200)
def test_a_hundred_people_over_real_sockets(tmp_path):
    for number in range(PEOPLE):
        draw_photo(tmp_path / "photos" / f"{number}.png", shift=number % 4)
    port = free_port()
    process = start(tmp_path / "photos", port)
    wrong = []

    def work(number):
        ask(port, f"/api/photos/{number}/open", {})
        found = ask(port, "/api/objects", {"photo": number, "class": 1, "key": f"object-{number:04}"})
        for turn in range(5):
            body = {
                "key": f"key-{number}-{turn:04}",
                "number": turn,
                "kind": "click",
                "y": 10 + turn,
                "x": 20,
                "positive": True,
            }
            found = ask(port, f"/api/objects/{found['id']}/events", body)
            if found["key"] != f"object-{number:04}" or len(found["clicks"]) != turn + 1:
                wrong.append((number, turn))

    people = [threading.Thread(target=work, args=(number + 1,)) for number in range(PEOPLE)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    process.terminate()
    process.wait()
    store = Store(tmp_path / "photos" / "clicklab")
    kept = sum(len(store.events(found.id)) for photo in store.photos() for found in store.objects(photo.id))
    store.close()
    assert (kept, wrong) == (5 * PEOPLE, [])
    print(f"{PEOPLE} people, {kept} clicks kept")


def rubbish(generator):
    """Bytes of a request that no browser sends."""
    lines = [
        b"GET /../../etc/passwd HTTP/1.1",
        b"GET /static/..%2f..%2fapp.py HTTP/1.1",
        b"POST /api/objects HTTP/1.1",
        b"BREW / HTTP/9",
    ]
    lines += [
        b"GET " + b"/" * 70000 + b" HTTP/1.1",
        bytes(generator.randrange(256) for _ in range(200)),
        b"GET / HTTP/1.1",
    ]
    headers = [
        b"Host: evil.example",
        b"Host: 127.0.0.1",
        b"Content-Length: 99999999999",
        b"Content-Length: -1",
        b"Transfer-Encoding: chunked",
    ]
    headers += [b"Origin: http://evil.example", b"X: " + b"y" * 70000, b"Cookie: clicklab_token=" + b"z" * 5000]
    chosen = generator.sample(headers, generator.randrange(4))
    body = bytes(generator.randrange(256) for _ in range(generator.randrange(300)))
    return b"\r\n".join([generator.choice(lines), *chosen]) + b"\r\n\r\n" + body


@pytest.mark.timeout(1200)
def test_rubbish_over_a_socket_leaks_and_crashes_nothing(tmp_path):
    draw_photo(tmp_path / "photos" / "a.png")
    port, generator = free_port(), random.Random(1)
    process = start(tmp_path / "photos", port)
    for _ in range(500):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.settimeout(0.3)
            answer = b""
            try:
                connection.sendall(rubbish(generator))
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(65536):
                    answer += part
            except OSError:
                pass
            assert (
                b"root:" not in answer and b"Traceback" not in answer and b"import " not in answer.split(b"\r\n\r\n")[0]
            )
            assert not answer.startswith(b"HTTP/1.1 5")
    assert ask(port, "/api/health")["ok"]
    process.terminate()
    process.wait()
