"""The routes, as a page uses them and as nobody should."""

from __future__ import annotations

import io
import json
import random
import threading
import zipfile

import numpy as np
import pytest
from conftest import BLUE_AT, GREEN_AT, RED_AT, app_of, draw_photo, open_desk
from PIL import Image
from starlette.testclient import TestClient

from clicklab.annotate import masks
from clicklab.annotate.guard import MOST_BYTES

HOST = "http://127.0.0.1:8765"
TOKEN = "a-token-that-nobody-guesses"


class Browser:
    """Sends what the page sends."""

    def __init__(self, desk, person="anna", token=None):
        self.client = TestClient(app_of(desk, token), base_url=HOST)
        self.client.headers.update({"x-clicklab-person": person, "x-clicklab-name": person.title()})
        if token:
            self.client.headers["authorization"] = f"Bearer {token}"
        self.keys = 0
        self.person = person

    def post(self, address, **body):
        return self.client.post(address, json=body)

    def key(self):
        self.keys += 1
        return f"{self.person}-key-{self.keys:06}"

    def new_object(self, photo=1):
        assert self.post(f"/api/photos/{photo}/open").status_code == 200
        return self.post("/api/objects", photo=photo, **{"class": 1}, key=self.key()).json()

    def send(self, found, kind, **body):
        """An event; returns the object after it."""
        body = {"key": self.key(), "number": found["number"], "kind": kind, **body}
        answer = self.post(f"/api/objects/{found['id']}/events", **body)
        assert answer.status_code == 200, answer.json()
        return answer.json()

    def click(self, found, at, positive=True):
        return self.send(found, "click", y=at[0], x=at[1], positive=positive)


def mask_of(found):
    return masks.decode(found["mask"])


@pytest.fixture
def browser(desk):
    return Browser(desk)


def disks(photos):
    return draw_photo(photos / "photo 2.png")


def test_clicks_undo_redo_and_a_new_server_give_the_same_masks(photos):
    red, blue, green = disks(photos)
    desk = open_desk(photos)
    browser = Browser(desk)
    found = browser.click(browser.new_object(), RED_AT)
    assert (mask_of(found) == red).all()
    found = browser.click(found, BLUE_AT)
    assert (mask_of(found) == red | blue).all()
    found = browser.click(found, BLUE_AT, positive=False)
    assert (mask_of(found) == red).all()
    shown = [found]
    for _ in range(3):
        shown.append(browser.send(shown[-1], "undo"))
    assert shown[-1]["mask"] is None
    assert [one["undo"] for one in shown] == [3, 2, 1, 0]
    redone = [browser.send(shown[-1], "redo")]
    for _ in range(2):
        redone.append(browser.send(redone[-1], "redo"))
    assert [one["mask"] for one in redone] == [one["mask"] for one in shown[2::-1]]
    before = browser.send(redone[-1], "undo")
    desk.close()

    again = open_desk(photos)
    browser = Browser(again, "later")
    [found] = browser.post("/api/photos/1/open").json()["objects"]
    assert {**found, "number": 0} == {**before, "number": 0}
    assert (found["undo"], found["redo"]) == (2, 1)
    found = browser.click(found, GREEN_AT)  # the session is played again up to here
    assert (mask_of(found) == red | blue | green).all()
    assert found["redo"] == 0
    again.close()


def test_the_same_event_twice_counts_once(browser):
    found = browser.new_object()
    body = {"key": "a-key-of-mine", "number": 0, "kind": "click", "y": 20, "x": 20, "positive": True}
    first, second = (browser.post(f"/api/objects/{found['id']}/events", **body) for _ in range(2))
    assert first.json() == second.json()
    assert first.json()["number"] == 1
    late = browser.post(f"/api/objects/{found['id']}/events", **{**body, "key": "another-key"})
    assert late.status_code == 409
    assert "reload" in late.json()["error"]


def test_a_reopened_mask_is_corrected_at_the_click_only(photos, browser):
    _, blue, green = disks(photos)
    found = browser.new_object()
    stroke = [[30.0, 5.0], [30.0, 90.0]]
    found = browser.send(found, "brush", points=stroke, radius=3, positive=True)
    drawn = mask_of(found)
    assert drawn[30, 5:90].all()
    found = browser.click(found, BLUE_AT)  # the network itself would answer with the blue disk alone
    assert (mask_of(found) == drawn | blue).all()
    found = browser.send(browser.send(found, "finish"), "reopen")
    found = browser.click(found, GREEN_AT)
    assert (mask_of(found) == drawn | blue | green).all()
    found = browser.click(found, (30, 90 - 1), positive=False)
    after = mask_of(found)
    assert not (after & ~(drawn | blue | green)).any()
    dropped = browser.send(found, "drop")
    assert (mask_of(dropped) == drawn | blue).all()
    assert (mask_of(browser.send(dropped, "undo")) == after).all()


def test_a_small_mask_of_a_large_photo_is_corrected_in_a_part_of_it(tmp_path):
    truth = draw_photo(tmp_path / "photos" / "large.png", width=960, height=640)
    desk = open_desk(tmp_path / "photos")
    browser = Browser(desk)
    blue_at = (BLUE_AT[0] * 10, BLUE_AT[1] * 10)
    found = browser.send(browser.new_object(), "brush", points=[[205.0, 700.0]], radius=5, positive=True)
    found = browser.click(found, blue_at)
    assert (mask_of(found) == truth[1]).all()
    found = browser.send(found, "threshold", value=0.3)
    assert (mask_of(found) == truth[1]).all()
    found = browser.click(found, (RED_AT[0] * 10, RED_AT[1] * 10))
    assert (mask_of(found) == truth[0] | truth[1]).all()
    desk.close()


def test_edits_fill_holes_and_drop_specks(browser):
    found = browser.new_object()
    ring = [[20.0 + 10 * np.sin(a), 48.0 + 10 * np.cos(a)] for a in np.linspace(0, 2 * np.pi, 60)]
    found = browser.send(found, "brush", points=ring, radius=1.5, positive=True)
    assert not mask_of(found)[20, 48]
    found = browser.send(found, "brush", points=[[60.0, 5.0]], radius=1, positive=True)
    filled = browser.send(found, "fill")
    assert mask_of(filled)[20, 48]
    cleaned = browser.send(filled, "specks", pixels=50)
    assert mask_of(cleaned)[20, 48] and not mask_of(cleaned)[60, 5]
    erased = browser.send(cleaned, "brush", points=[[20.0, 48.0]], radius=4, positive=False)
    assert not mask_of(erased)[20, 48]


def test_candidates_and_threshold(photos):
    desk = open_desk(photos, reaches=(0.1, 3.0))
    red, *_ = disks(photos)
    browser = Browser(desk)
    found = browser.click(browser.new_object(), RED_AT)
    assert found["candidates"] == 2
    listed = browser.client.get(f"/api/objects/{found['id']}/candidates").json()
    assert [pytest.approx(score) for score in listed["scores"]] == [0.9, 0.4]
    assert listed["chosen"] == 0
    assert (masks.decode(listed["masks"][0]) == red).all()
    assert masks.decode(listed["masks"][1]).all()  # everything is near enough
    found = browser.send(found, "choose", index=1)
    assert found["mask"] == listed["masks"][1]
    assert browser.client.get(f"/api/objects/{found['id']}/candidates").json()["chosen"] == 1
    found = browser.send(found, "undo")
    assert (mask_of(found) == red).all()
    shown = browser.post(f"/api/objects/{found['id']}/preview", value=0.001).json()["mask"]
    assert masks.area(shown) >= red.sum()
    found = browser.send(found, "threshold", value=0.999)
    assert found["threshold"] == 0.999
    assert masks.area(found["mask"]) <= red.sum()
    refused = browser.post(
        f"/api/objects/{found['id']}/events", key=browser.key(), number=found["number"], kind="choose", index=7
    )
    assert refused.status_code == 400
    desk.close()


def test_two_people_share_a_folder_but_no_photo(photos, desk):
    anna, ben = Browser(desk, "anna", TOKEN), Browser(desk, "ben", TOKEN)
    found = anna.click(anna.new_object(1), RED_AT)
    opened = ben.post("/api/photos/1/open").json()
    assert "Anna is working on this photo" in opened["locked"]
    assert opened["objects"][0]["mask"] == found["mask"]
    refused = ben.post("/api/objects", photo=1, **{"class": 1}, key="bens-key-1")
    assert (refused.status_code, "Anna" in refused.json()["error"]) == (409, True)
    body = {"key": "bens-key-2", "number": found["number"], "kind": "undo"}
    assert ben.post(f"/api/objects/{found['id']}/events", **body).status_code == 409
    assert {row["holder_name"] for row in ben.client.get("/api/photos").json()} == {"Anna", None}
    ben.click(ben.new_object(2), BLUE_AT)
    anna.client.post("/api/photos/1/release")
    assert ben.post("/api/photos/1/open").json()["locked"] is None
    assert ben.send(found, "undo")["mask"] is None


def test_photos_of_every_kind(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    gray = generator.integers(0, 4096, (30, 40), dtype=np.uint16)  # 12 of 16 bits
    Image.fromarray(gray).save(folder / "a sixteen.png")
    Image.fromarray(gray.astype(np.float32) / 4095).save(folder / "b float.tiff")
    turned = Image.fromarray(generator.integers(0, 255, (30, 40, 3), dtype=np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "c turned.jpg", exif=exif)
    Image.fromarray(generator.integers(0, 255, (30, 40, 4), dtype=np.uint8)).save(
        folder / "d alpha.webp", lossless=True
    )
    (folder / "e broken.jpg").write_bytes(b"\xff\xd8 no image")
    (folder / "f empty.png").write_bytes(b"")
    desk = open_desk(folder)
    browser = Browser(desk)
    sizes = {}
    for row in browser.client.get("/api/photos").json():
        opened = browser.post(f"/api/photos/{row['id']}/open")
        if opened.status_code == 200:
            sizes[row["name"][0]] = (opened.json()["height"], opened.json()["width"])
            picture = browser.client.get(f"/photo/{row['id']}")
            assert Image.open(io.BytesIO(picture.content)).size[::-1] == sizes[row["name"][0]]
            assert browser.client.get(f"/photo/{row['id']}?side=16").status_code == 200
        else:
            assert opened.status_code == 422
            assert row["name"] in opened.json()["error"] and "skip" in opened.json()["error"]
    assert sizes == {"a": (30, 40), "b": (30, 40), "c": (40, 30), "d": (30, 40)}
    stretched = desk.photos.read("a sixteen.png")[0]
    assert (stretched.min(), stretched.max()) == (0, 255)
    desk.close()


def test_a_photo_that_changed_its_size_is_refused_and_keeps_its_masks(photos):
    desk = open_desk(photos)
    browser = Browser(desk)
    found = browser.click(browser.new_object(), RED_AT)
    desk.close()
    draw_photo(photos / "photo 2.png", width=50, height=40)
    again = open_desk(photos)
    refused = Browser(again).post("/api/photos/1/open")
    assert refused.status_code == 422
    assert "50 x 40" in refused.json()["error"] and "96 x" in refused.json()["error"]
    assert again.store.object(found["id"]).counts == found["mask"]["counts"]
    again.close()


def test_parts_of_pictures_and_their_tags(browser):
    part = browser.client.get("/photo/1?box=8,4,40,20&w=16")
    assert Image.open(io.BytesIO(part.content)).size == (16, 8)
    again = browser.client.get("/photo/1?box=8,4,40,20&w=16", headers={"if-none-match": part.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for wrong in ("box=1,2,3", "box=9,9,3,3", "box=0,0,97,10", "box=a,0,9,9", "w=0", "w=99999999999", "side=1"):
        assert browser.client.get(f"/photo/1?{wrong}").status_code == 400, wrong


def test_downloads_hold_what_was_drawn(photos, browser):
    red, *_ = disks(photos)
    browser.click(browser.new_object(), RED_AT)
    answer = browser.client.get("/api/export/png")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        ids = np.asarray(Image.open(archive.open("ids/photo 2.png")))
    assert (ids == red).all()
    assert browser.client.get("/api/export/clicks").json()["dialogues"][0]["clicks"] == [[20.0, 20.0, True]]
    assert browser.client.get("/api/export/word").status_code == 404


def test_a_full_disk_is_said_and_the_click_may_come_again(browser, desk):
    found = browser.new_object()
    pages = desk.store._rows.execute("PRAGMA page_count").fetchone()[0]
    desk.store._rows.execute(f"PRAGMA max_page_count = {pages}")
    stroke = {"kind": "brush", "points": [[y, x] for y in range(60) for x in range(90)], "radius": 1, "positive": True}
    refused = browser.post(f"/api/objects/{found['id']}/events", key="the-same-key", number=0, **stroke)
    assert refused.status_code == 507
    assert "make room on the disk" in refused.json()["error"]
    desk.store._rows.execute("PRAGMA max_page_count = 1000000")
    assert browser.post(f"/api/objects/{found['id']}/events", key="the-same-key", number=0, **stroke).status_code == 200


def test_every_answer_says_what_a_browser_may_do_with_it(browser):
    for address in ("/", "/static/main.js", "/api/photos", "/photo/1?side=64", "/api/none"):
        headers = browser.client.get(address).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_only_this_machine_without_a_token(desk):
    client = TestClient(app_of(desk), base_url=HOST)
    assert client.get("/api/photos").status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:8765", ""):
        assert client.get("/api/photos", headers={"host": host}).status_code == 403
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9999", "http://127.0.0.1:8765.evil.example"):
        assert client.post("/api/photos/1/open", headers={"origin": origin}, json={}).status_code == 403
    assert client.post("/api/photos/1/open", headers={"origin": HOST}, json={}).status_code == 200
    assert client.get("/api/photos", headers={"sec-fetch-site": "cross-site"}).status_code == 403


def test_with_a_token_everything_needs_it(desk):
    client = TestClient(app_of(desk, TOKEN), base_url="http://some-machine:8765", follow_redirects=False)
    for address in ("/", "/static/main.js", "/api/photos", "/photo/1", "/api/export/coco", "/?token=wrong", "/?token="):
        assert client.get(address).status_code == 401, address
    assert client.get("/api/photos", headers={"authorization": "Bearer wrong"}).status_code == 401
    welcome = client.get(f"/?token={TOKEN}")
    assert (welcome.status_code, welcome.headers["location"]) == (303, "/")
    assert "HttpOnly" in welcome.headers["set-cookie"] and "SameSite=Strict" in welcome.headers["set-cookie"]
    assert client.get("/api/photos").status_code == 200  # the cookie came along


def hostile_requests(generator):
    """Method, address, headers and body of requests that no page sends."""
    paths = [
        "/",
        "/api/photos",
        "/api/objects",
        "/api/objects/1/events",
        "/api/photos/1/open",
        "/photo/1",
        "/api/export/coco",
    ]
    climbing = [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/..%5c..%5cetc",
        "/%00",
        "/annotations.sqlite",
    ]
    bodies = [
        b"",
        b"{",
        b"[" * 5000,
        b"null",
        b"\xff\xfe",
        b'{"key": 1}',
        b'{"photo": 1e400}',
        b'{"photo": ' + b"9" * 400 + b"}",
    ]
    bodies += [
        json.dumps({"kind": kind, "key": "k" * 20, "number": 0}).encode() for kind in ("click", "brush", "x", 7, None)
    ]
    for _ in range(200):
        kind = generator.randrange(5)
        address, headers = generator.choice(paths), {}
        method = generator.choice(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
        if kind == 0:
            address = generator.choice(["/static", "/photo", "/api/export", "/api/photos", ""]) + generator.choice(
                climbing
            )
        if kind == 1:
            headers = {"origin": generator.choice(["http://evil.example", "null", "file://"])}
        if kind == 2:
            address += generator.choice(
                ["?box=" + "9" * 5000, "?w=-1", "?side=%F0%9F", "/" + "9" * 40, "?token=%00", "/-1/open"]
            )
        if kind == 3:
            headers = {"content-length": generator.choice(["-5", "abc", str(10**12), "9" * 500])}
        yield method, address, headers, generator.choice(bodies)


def test_hostile_requests_leak_and_crash_nothing(photos, desk):
    browser = Browser(desk)
    found = browser.click(browser.new_object(), RED_AT)
    secret = (photos / "clicklab" / "annotations.sqlite").read_bytes()[:16]
    client = TestClient(app_of(desk), base_url=HOST, raise_server_exceptions=True)
    for method, address, headers, body in hostile_requests(random.Random(0)):
        answer = client.request(method, address, headers=headers, content=body, follow_redirects=False)
        assert answer.status_code < 500, (method, address, headers, body, answer.text)
        assert b"root:" not in answer.content and secret not in answer.content
        if answer.status_code >= 400 and method != "HEAD":
            assert len(answer.json()["error"]) < 300
    [again] = browser.post("/api/photos/1/open").json()["objects"]
    assert again["mask"] == found["mask"]


def test_too_much_is_refused_before_it_is_kept(browser):
    def endless():
        for _ in range(MOST_BYTES // 1000 + 2):
            yield b"x" * 1000

    assert browser.client.post("/api/objects", content=endless()).status_code == 413  # no length was given
    assert browser.client.post("/api/objects", content=b"x" * (MOST_BYTES + 1)).status_code == 413


def test_many_people_at_once_lose_no_click_and_see_no_foreign_mask(tmp_path):
    folder, people = tmp_path / "photos", 12
    truths = [draw_photo(folder / f"{number}.png", shift=number % 3) for number in range(people)]
    desk = open_desk(folder)
    failures = []

    def work(number):
        browser = Browser(desk, f"person{number}", TOKEN)
        found = browser.new_object(number + 1)
        wanted = np.zeros_like(truths[number][0])
        for at, disk in zip((RED_AT, BLUE_AT, GREEN_AT), truths[number], strict=True):
            found = browser.click(found, (at[0], at[1] + number % 3))
            wanted |= disk
            if not (mask_of(found) == wanted).all():
                failures.append((number, at))
        if found["undo"] != 3:
            failures.append((number, found))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(people)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert (
        sum(len(desk.store.events(found.id)) for n in range(people) for found in desk.store.objects(n + 1))
        == 3 * people
    )
    desk.close()
