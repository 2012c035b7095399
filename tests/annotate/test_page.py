"""The page in a real browser: Debian's Chromium, driven by Playwright.

In CI a missing browser is a failure (CLICKLAB_BROWSER=required), elsewhere these tests are skipped, saying so.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from conftest import BLUE_AT, GREEN_AT, HEIGHT, RED_AT, WIDTH, app_of, draw_photo, open_desk
from PIL import Image

from clicklab.annotate import masks
from clicklab.annotate.store import Store

CHROMIUM = os.environ.get("CLICKLAB_CHROMIUM") or shutil.which("chromium") or ""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
HELPERS = Path(__file__).parents[1] / "helpers"
TOKEN = "a-token-that-nobody-guesses"
PATIENCE = 60_000  # milliseconds: other tests want the processor too
NOWHERE = (60, 88)  # (row, column) of plain ground


@pytest.fixture(scope="session")
def chromium():
    if not CHROMIUM:
        if os.environ.get("CLICKLAB_BROWSER") == "required":
            pytest.fail("Chromium is missing: apt-get install chromium, or set CLICKLAB_CHROMIUM")
        pytest.skip("no Chromium here: apt-get install chromium, or set CLICKLAB_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Served:
    """A desk behind a real port, in this process."""

    def __init__(self, folder, token=None, **network):
        self.desk = open_desk(folder, **network)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        config = uvicorn.Config(app_of(self.desk, token), log_level="warning", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})
        self.thread.start()
        self.address = f"http://127.0.0.1:{self.port}/" + (f"?token={token}" if token else "")

    def close(self):
        self.server.should_exit = True
        self.thread.join()


class Person:
    """Somebody with a mouse and a keyboard before the page."""

    def __init__(self, chromium, address, *, width=1280, height=800, size=(HEIGHT, WIDTH), **settings):
        self.context = chromium.new_context(viewport={"width": width, "height": height}, **settings)
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.size = size
        self.complaints = []
        self.addresses = set()
        self.page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.addresses.add(request.url.split("/")[2]))
        self.page.goto(address)
        self.ready()

    def ready(self):
        self.page.locator("#photo-list [aria-current=true]").wait_for(state="attached")
        self.settle()

    def settle(self):
        """Everything was answered and drawn."""
        self.page.wait_for_timeout(50)
        self.page.locator("#busy").wait_for(state="hidden")
        self.page.wait_for_timeout(150)  # masks are painted when the view rests

    def place(self, at):
        """Window coordinates of a pixel (row, column) of the fitted photo."""
        box = self.page.locator("#stage").bounding_box()
        height, width = self.size
        scale = min(box["width"] / width, box["height"] / height)
        left = box["x"] + (box["width"] - width * scale) / 2
        top = box["y"] + (box["height"] - height * scale) / 2
        return left + (at[1] + 0.5) * scale, top + (at[0] + 0.5) * scale

    def click(self, at, **how):
        self.page.mouse.click(*self.place(at), **how)
        self.settle()

    def point(self, at):
        self.page.mouse.move(*self.place(at))

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)
            self.settle()

    def covered(self, *places):
        """Whether a mask is painted at each place."""
        box = self.page.locator("#stage").bounding_box()
        look = """([x, y]) => {
            const canvas = document.getElementById("mask-layer");
            const share = canvas.width / canvas.clientWidth;
            return canvas.getContext("2d").getImageData(x * share, y * share, 1, 1).data[3] > 0;
        }"""
        where = [self.place(at) for at in places]
        return [self.page.evaluate(look, [x - box["x"], y - box["y"]]) for x, y in where]

    def objects(self):
        return self.page.locator("#objects .label").all_inner_texts()

    def text(self, selector):
        return self.page.locator(selector).inner_text()

    def leave(self, complaints=0):
        """No error in the console, no request to another host."""
        assert len(self.complaints) <= complaints, self.complaints
        assert {address.split(":")[0] for address in self.addresses} == {"127.0.0.1"}
        self.context.close()


@pytest.fixture
def served(photos):
    opened = Served(photos)
    yield opened
    opened.close()


@pytest.fixture
def person(chromium, served):
    somebody = Person(chromium, served.address)
    yield somebody
    somebody.leave()


def kept(served, photo=1):
    """Masks of the objects in the store."""
    found = [one for one in served.desk.store.objects(photo) if one.state != "deleted" and one.counts]
    return [masks.decode(masks.Rle(size=[HEIGHT, WIDTH], counts=one.counts)) for one in found]


def test_first_mask_negative_click_undo_redo_and_reload(served, person, photos):
    red, blue, _ = draw_photo(photos / "photo 2.png")
    assert "Click on an object" in person.text("#welcome")
    stage = person.page.locator("#stage").bounding_box()
    assert stage["width"] * stage["height"] >= 0.75 * 1280 * 800
    person.click(RED_AT)
    assert not person.page.locator("#welcome").is_visible()
    person.click(BLUE_AT)
    assert person.covered(RED_AT, BLUE_AT, GREEN_AT) == [True, True, False]
    person.click(BLUE_AT, button="right")
    assert person.covered(RED_AT, BLUE_AT) == [True, False]
    person.click(GREEN_AT)
    person.page.keyboard.down("Shift")
    person.click(GREEN_AT)
    person.page.keyboard.up("Shift")
    assert person.covered(RED_AT, GREEN_AT) == [True, False]
    person.press(*["Control+z"] * 3)
    assert person.covered(RED_AT, BLUE_AT) == [True, True]
    person.press(*["Control+z"] * 2)
    assert person.covered(RED_AT, BLUE_AT, GREEN_AT) == [False, False, False]
    assert person.page.locator("#undo").is_disabled()
    person.press(*["Control+Shift+z"] * 3)
    person.page.reload()
    person.ready()
    assert person.covered(RED_AT, BLUE_AT, GREEN_AT) == [True, False, False]
    person.press(*["Control+Shift+z"] * 2)
    assert person.page.locator("#redo").is_disabled()
    person.press("Control+z", "Control+z", "Control+z")
    [mask] = kept(served)
    assert (mask == red | blue).all()


def test_objects_classes_finish_reopen_delete_and_the_next_photo(served, person, photos):
    red, blue, green = draw_photo(photos / "photo 2.png")
    person.click(RED_AT)
    person.press("Enter", "2")
    person.click(BLUE_AT)
    person.press("Space")
    assert person.objects() == ["1 cat", "2 dog"]
    person.click(GREEN_AT)  # the class stays chosen
    assert person.objects() == ["1 cat", "2 dog", "3 dog"]
    person.point(RED_AT)
    person.press("r", "2")
    assert person.objects()[0] == "1 dog"
    person.click(GREEN_AT)
    person.press("Escape")  # back to the red disk
    assert (kept(served)[0] == red).all()
    person.press("Control+z")
    assert (kept(served)[0] == red | green).all()
    person.press("Control+z", "Enter")
    person.point(BLUE_AT)
    person.press("Delete")
    assert person.objects() == ["1 dog", "2 dog"]
    assert person.covered(RED_AT, BLUE_AT, GREEN_AT) == [True, False, True]
    person.press("Control+z")
    assert person.covered(BLUE_AT) == [True]
    person.page.keyboard.down("q")
    person.page.wait_for_timeout(100)
    assert person.page.locator("#mask-layer").evaluate("layer => layer.style.visibility") == "hidden"
    person.page.keyboard.up("q")
    person.press("Enter", "Enter")
    assert person.text("#name") == "photo 10.png"
    assert person.text("#done-count") == "1 done"
    assert person.objects() == []
    person.press("s")
    assert person.text("#name") == "更多/фото.png"
    person.press("a", "a")
    assert person.text("#name") == "photo 2.png"
    assert [photo.state for photo in served.desk.store.photos()] == ["done", "skipped", "todo"]
    assert (
        np.array(Image.open(served.desk.store.folder / "masks" / "photo 2.png")) == red + 2 * blue + 3 * green
    ).all()


def test_brush_eraser_and_a_click_after_them(served, person, photos):
    _, blue, _ = draw_photo(photos / "photo 2.png")
    person.press("b")
    person.point((55, 5))
    person.page.mouse.down()
    person.page.mouse.move(*person.place((55, 60)), steps=8)
    person.page.mouse.up()
    person.settle()
    [drawn] = kept(served)
    assert drawn[55, 6:60].all() and not drawn[20].any()
    person.press("c")
    person.click(BLUE_AT)
    assert (kept(served)[0] == drawn | blue).all()
    person.press("e", "[", "[")
    person.click((55, 30))
    person.press("c", "Control+z", "Control+z")
    assert (kept(served)[0] == drawn).all()
    person.press("Control+z", "Control+Shift+z", "g", "k")
    assert (kept(served)[0] == drawn).all()


def test_candidates_are_chosen_by_tab_and_digit_and_the_next_click_goes_on(chromium, photos):
    red, blue, _ = draw_photo(photos / "photo 2.png")
    served = Served(photos, reaches=(0.1, 3.0, 0.11))
    person = Person(chromium, served.address)
    person.click(RED_AT)
    options = person.page.locator("#candidates button")
    options.first.wait_for()
    assert options.all_inner_texts() == ["0.90", "0.65", "0.40"]
    person.press("Tab")
    assert person.covered(NOWHERE) == [True]
    assert options.nth(1).get_attribute("aria-selected") == "true"
    person.press("Shift+Digit3")
    assert person.covered(RED_AT, NOWHERE) == [True, False]
    person.click(BLUE_AT)
    assert (kept(served)[0] == red | blue).all()
    person.press("Control+z", "Control+z")
    assert person.covered(NOWHERE) == [True]
    person.leave()
    served.close()


def test_threshold_acts_at_once_and_is_kept(served, person):
    person.click(RED_AT)
    before = kept(served)[0].sum()
    slider = person.page.locator("#threshold")
    slider.fill("0.95")
    slider.dispatch_event("change")
    person.settle()
    assert kept(served)[0].sum() <= before
    person.page.reload()
    person.ready()
    assert person.text("#threshold-value") == "0.95"


def test_two_people_on_one_folder(chromium, photos):
    served = Served(photos, TOKEN)
    anna, ben = Person(chromium, served.address), Person(chromium, served.address)
    assert "TOKEN" not in anna.page.url and "token" not in anna.page.url
    anna.page.locator("#person").fill("Anna")
    anna.page.locator("#person").press("Enter")
    anna.page.reload()
    anna.ready()
    anna.click(RED_AT)
    ben.page.reload()
    ben.ready()
    assert "Anna is working on this photo" in ben.text("#banner")
    assert ben.covered(RED_AT) == [True]
    ben.click(BLUE_AT)
    assert "Anna" in ben.text("#bubble")
    ben.press("d")
    ben.click(BLUE_AT)
    assert ben.objects() == ["1 cat"]
    anna.page.close()  # gives the photo back
    time.sleep(0.5)
    ben.press("a")
    assert not ben.page.locator("#banner").is_visible()
    ben.click(GREEN_AT)
    assert ben.covered(RED_AT, GREEN_AT) == [True, True]
    anna.leave()
    ben.leave(complaints=3)  # the browser itself notes refused requests
    served.close()


def test_a_photo_that_cannot_be_read_says_so_and_the_others_go_on(chromium, photos):
    (photos / "photo 5.jpg").write_bytes(b"not a photo")
    served = Served(photos)
    person = Person(chromium, served.address)
    person.click(RED_AT)
    person.press("d")
    assert person.text("#name") == "photo 5.jpg"
    assert "photo 5.jpg is not an image that can be read" in person.text("#banner")
    assert person.objects() == []
    person.click(BLUE_AT)  # is refused where it happened
    assert "not an image that can be read" in person.text("#bubble")
    person.press("d")
    assert person.text("#name") == "photo 10.png"
    assert not person.page.locator("#banner").is_visible()
    person.leave(complaints=4)  # the browser's own notes on the answers
    served.close()


def test_offline_and_back(served, person, photos):
    red, blue, _ = draw_photo(photos / "photo 2.png")
    person.click(RED_AT)
    person.context.set_offline(True)
    person.page.mouse.click(*person.place(BLUE_AT))
    person.page.get_by_text("Your clicks are kept here").wait_for()
    person.page.mouse.click(*person.place(GREEN_AT))
    person.page.mouse.click(*person.place(GREEN_AT), button="right")
    person.context.set_offline(False)
    person.page.locator("#banner").wait_for(state="hidden")
    person.settle()
    assert (kept(served)[0] == red | blue).all()
    assert person.complaints
    person.complaints.clear()  # the browser's notes that it is offline


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def start_process(photos, port):
    """The server as a process; returns when it listens."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HELPERS), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, HELPERS / "annotate_server.py", photos, str(port)], env=environment, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    while b"open http" not in (line := process.stdout.readline()):
        assert line, "the server ended"
    return process


def test_a_killed_server_comes_back_exactly_there(chromium, photos):
    red, *_ = draw_photo(photos / "photo 2.png")
    port = free_port()
    process = start_process(photos, port)
    person = Person(chromium, f"http://127.0.0.1:{port}/")
    person.click(RED_AT)
    person.click(BLUE_AT)
    person.click(GREEN_AT)
    person.press("Control+z")
    process.send_signal(signal.SIGKILL)
    process.wait()
    person.page.mouse.click(*person.place(NOWHERE), button="right")
    person.page.get_by_text("Your clicks are kept here").wait_for()
    process = start_process(photos, port)
    person.page.locator("#banner").wait_for(state="hidden")
    person.settle()
    assert person.covered(RED_AT, BLUE_AT, GREEN_AT) == [True, True, False]
    person.page.reload()
    person.ready()
    assert person.covered(RED_AT, BLUE_AT, GREEN_AT) == [True, True, False]
    person.press("Control+z", "Control+z")
    assert person.covered(RED_AT, BLUE_AT) == [True, False]
    person.complaints.clear()
    person.leave()
    process.terminate()
    process.wait()
    store = Store(photos / "clicklab")
    assert [event.kind for event in store.events(1)] == ["click"] * 3 + ["undo", "click", "undo", "undo"]
    store.close()
    assert (np.array(Image.open(photos / "clicklab" / "masks" / "photo 2.png")) == red).all()


def test_fingers_on_a_small_screen(chromium, served):
    person = Person(chromium, served.address, width=800, height=600, has_touch=True)
    person.page.locator("#touch").evaluate("bar => bar.hidden = false")  # headless Chromium has a fine pointer
    person.page.touchscreen.tap(*person.place(RED_AT))
    person.settle()
    person.page.touchscreen.tap(*person.place(BLUE_AT))
    person.settle()
    assert person.covered(RED_AT, BLUE_AT) == [True, True]
    person.page.locator("#sign").tap()
    person.page.touchscreen.tap(*person.place(BLUE_AT))
    person.settle()
    assert person.covered(RED_AT, BLUE_AT) == [True, False]
    person.page.locator("#touch-finish").tap()
    person.settle()
    assert person.objects() == ["1 cat"]
    assert person.page.evaluate(
        "document.documentElement.scrollWidth <= 800 && document.documentElement.scrollHeight <= 600"
    )
    person.leave()


def test_a_phone_held_upright(chromium, served):
    wide, high = 390, 844
    person = Person(chromium, served.address, width=wide, height=high, has_touch=True, is_mobile=True)
    for selector in ("#undo", "#redo", "#help-button", "#fold-side", "#finish", "#sign", "#objects", "#tool-brush"):
        box = person.page.locator(selector).bounding_box()
        assert box is not None, selector
        assert box["x"] >= 0 and box["x"] + box["width"] <= wide, selector
    stage = person.page.locator("#stage").bounding_box()
    assert stage["width"] == wide and stage["height"] > high / 2
    person.page.touchscreen.tap(*person.place(RED_AT))
    person.settle()
    assert person.covered(RED_AT) == [True]
    person.page.locator("#fold-side").tap()
    person.settle()
    assert not person.page.locator("#side").is_visible()
    person.page.locator("#fold-photos").tap()
    person.page.locator("#photo-list button").nth(1).tap()
    person.settle()
    assert person.text("#name") == "photo 10.png"
    person.leave()


def test_everything_by_keyboard(served, person):
    person.press("d")
    person.press("a")
    person.page.mouse.move(5, 5)
    for _ in range(3):
        person.page.keyboard.press("Shift+ArrowUp")
    person.page.keyboard.press("Shift+ArrowLeft")
    person.press("+")
    assert person.objects() == ["1 cat"]
    person.press("-")
    assert len(served.desk.store.events(1)) == 2
    person.press("?")
    assert person.page.locator("#help").is_visible()
    assert person.page.locator("#key-list dd").count() > 25
    person.press("Escape")
    assert not person.page.locator("#help").is_visible()
    person.press("F6")
    assert person.page.evaluate("document.getElementById('side').contains(document.activeElement)")
    person.page.locator("#class-name").fill("bird dd")  # keys in a field are text
    person.press("Enter")
    assert person.objects() == ["1 bird dd"]
    assert person.text("#name") == "photo 2.png"
    person.press("Enter")
    person.press("l")
    assert person.page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_browsers_menu_is_suppressed_over_the_photo_only(person):
    asked = """selector => !document.querySelector(selector).dispatchEvent(
        new MouseEvent("contextmenu", {bubbles: true, cancelable: true}))"""
    assert person.page.evaluate(asked, "#stage")
    assert not person.page.evaluate(asked, "#side")


def test_run_lengths_in_the_page_are_those_of_python(person):
    generator = np.random.default_rng(3)
    shapes = [(1, 1), (7, 1), (1, 9), (13, 11), (40, 60)]
    given = [generator.random(shape) < share for shape in shapes for share in (0, 0.1, 0.5, 0.97, 1)]
    look = """async (all) => {
        const { Runs } = await import("/static/rle.js");
        return all.map((rle) => {
            const runs = new Runs(rle);
            const [height, width] = rle.size;
            const marks = runs.raster({ scale: 1, x: 0, y: 0 }, width, height);
            const places = Array.from({ length: width * height }, (_, i) => [i % height, Math.floor(i / height)]);
            const held = places.map(([y, x]) => Number(runs.holds(y, x)));
            return { marks: Array.from(marks), held, area: runs.area, box: runs.box };
        });
    }"""
    for mask, found in zip(given, person.page.evaluate(look, [masks.encode(mask) for mask in given]), strict=True):
        wanted = mask.T.ravel().astype(int).tolist()
        assert found["marks"] == wanted == found["held"]
        assert found["area"] == mask.sum()
        box = masks.bounding_box(mask)
        assert (found["box"] is None) == (box is None)
        if box:
            assert (found["box"]["left"], found["box"]["right"]) == (box[1], box[3])
            assert found["box"]["top"] <= box[0] and found["box"]["bottom"] >= box[2]


def test_a_photo_of_a_hundred_megapixels(chromium, tmp_path):
    width, height = 12_000, 8_400
    draw_photo(tmp_path / "photos" / "small.png")
    small = Image.open(tmp_path / "photos" / "small.png")
    small.resize((width, height), Image.Resampling.NEAREST).save(tmp_path / "photos" / "big.jpg", quality=60)
    (tmp_path / "photos" / "small.png").unlink()
    served = Served(tmp_path / "photos", longest_side=300)
    scale = height / HEIGHT
    person = Person(chromium, served.address, size=(height, width))
    red = (int(RED_AT[0] * scale), int(RED_AT[1] * width / WIDTH))
    person.click(red)
    assert person.covered(red) == [True]
    person.point(red)
    with person.page.expect_request(lambda request: "box=" in request.url):
        for _ in range(12):
            person.page.mouse.wheel(0, -300)
    person.settle()
    [found] = served.desk.store.objects(1)
    mask = masks.decode(masks.Rle(size=[height, width], counts=found.counts))
    assert abs(mask.sum() / (width * height) - np.pi * 12**2 / (WIDTH * HEIGHT)) < 0.005
    person.leave()
    served.close()
