"""Events and the store against a model that is nothing but a list."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clicklab.annotate.events import BadRequest, Event, History, parse_event
from clicklab.annotate.store import FILE, Conflict, Store

kinds = st.sampled_from(["click", "brush", "fill", "undo", "redo", "finish", "reopen", "drop", "delete", "restore"])


class Model:
    """Masks as an undo list: the simplest thing that is right."""

    def __init__(self) -> None:
        self.done, self.undone, self.state = [], [], "open"

    def take(self, kind: str, mask: str) -> bool:
        if kind in ("finish", "reopen", "delete", "restore"):
            self.state = {"finish": "done", "delete": "deleted"}.get(kind, "open")
            return True
        if self.state != "open" or (kind == "undo" and not self.done) or (kind == "redo" and not self.undone):
            return False
        if kind == "undo":
            self.undone.append(self.done.pop())
        elif kind == "redo":
            self.done.append(self.undone.pop())
        else:
            self.done.append(mask)
            self.undone.clear()
        return True


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(kinds, max_size=30))
def test_histories_in_the_store_are_those_of_an_undo_list(tmp_path_factory, sequence):
    folder = tmp_path_factory.mktemp("store")
    store, model, number = Store(folder), Model(), 0
    store.set_photos(["a.png"])
    store.set_content(1, "0" * 32, 8, 8)
    found = store.add_object(1, store.add_class("cat"), "some-key-1")
    for place, kind in enumerate(sequence):
        event = Event(f"key-{place}", kind, counts=f"m{place}")
        if model.take(kind, f"m{place}"):
            store.append(found.id, event, number)
            number += 1
        else:
            with pytest.raises(BadRequest):
                store.append(found.id, event, number)
    for reading in (store, Store(folder, writing=False)):  # as another process reads it meanwhile
        history = History.of(reading.events(found.id))
        assert [step.counts for step in history.applied] == model.done
        assert [step.counts for step in reversed(history.steps[history.position :])] == model.undone
        about = reading.object(found.id)
        assert (about.state, about.counts, about.length) == (
            model.state,
            model.done[-1] if model.done else None,
            number,
        )
        reading.close()


def test_a_drop_goes_back_to_the_last_reopening_and_can_be_undone():
    events = [
        Event("1", "click", counts="a"),
        Event("2", "finish"),
        Event("3", "reopen"),
        Event("4", "click", counts="b"),
    ]
    history = History.of(events)
    assert history.protected
    dropped = history.after(history.dropped())
    assert (dropped.counts, len(dropped.clicks)) == ("a", 1)
    assert dropped.after(Event("6", "undo")).counts == "b"
    fresh = History.of(events[:1])
    emptied = fresh.after(fresh.dropped())
    assert (emptied.counts, emptied.clicks, emptied.protected) == (None, (), False)


def test_numbers_and_keys_keep_two_windows_apart(tmp_path):
    store = Store(tmp_path)
    store.set_photos(["a.png", "b.png"])
    first = store.add_object(1, store.add_class("cat"), "some-key-1")
    assert store.add_object(1, 1, "some-key-1") == first
    with pytest.raises(Conflict, match="another photo"):
        store.add_object(2, 1, "some-key-1")
    store.append(first.id, Event("e1", "click", counts="a"), 0)
    with pytest.raises(Conflict, match="reload"):
        store.append(first.id, Event("e2", "click", counts="b"), 0)
    with pytest.raises(sqlite3.IntegrityError):
        store.append(first.id, Event("e1", "click", counts="b"), 1)
    assert store.object(first.id).length == 1
    store.close()


def test_a_photo_is_leased_to_one_person_at_a_time(tmp_path):
    store = Store(tmp_path)
    store.set_photos(["a.png"])
    store.lease(1, "anna", "Anna", now=1000)
    with pytest.raises(Conflict, match="Anna"):
        store.lease(1, "ben", "Ben", now=1030)
    store.lease(1, "anna", "Anna", now=1050)
    with pytest.raises(Conflict):
        store.need_lease(1, "ben", now=1105)
    store.lease(1, "ben", "Ben", now=1111)  # Anna's minute is over
    store.release(1, "anna")
    with pytest.raises(Conflict, match="Ben"):
        store.lease(1, "anna", "Anna", now=1112)
    store.release(1, "ben")
    store.lease(1, "anna", "Anna", now=1113)
    store.close()


def test_photos_that_go_and_come_keep_their_objects(tmp_path):
    store = Store(tmp_path)
    store.set_photos(["a.png", "b.png"])
    store.add_object(1, store.add_class("cat"), "some-key-1")
    store.set_photos(["b.png", "c.png"])
    assert [(photo.path, photo.present) for photo in store.photos()] == [
        ("a.png", False),
        ("b.png", True),
        ("c.png", True),
    ]
    store.set_photos(["a.png"])
    assert store.photo(1).present
    assert len(store.objects(1)) == 1
    store.close()


def test_a_second_server_and_another_version_are_refused(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(ValueError, match="another `clicklab annotate` is at work"):
        Store(tmp_path)
    store.close()
    rows = sqlite3.connect(tmp_path / FILE)
    rows.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    rows.commit()
    rows.close()
    with pytest.raises(ValueError, match="another version"):
        Store(tmp_path)
    (tmp_path / FILE).write_bytes(b"no database, but long enough to be looked at" * 100)
    with pytest.raises(ValueError, match="not a file of annotations"):
        Store(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no annotations"):
        Store(tmp_path / "elsewhere", writing=False)


def write_until_killed(folder, acknowledged):
    store = Store(folder)
    found = store.objects(1)[0]
    for number in range(found.length, 1_000_000):
        store.append(found.id, Event(f"key-{number}", "click", counts=f"mask-{number}"), number)
        acknowledged.send(number)


def test_a_killed_writer_loses_no_acknowledged_event(tmp_path):
    store = Store(tmp_path)
    store.set_photos(["a.png"])
    store.add_object(1, store.add_class("cat"), "some-key-1")
    store.close()
    spawn = multiprocessing.get_context("fork")
    for _ in range(5):
        receiving, sending = spawn.Pipe(duplex=False)
        writer = spawn.Process(target=write_until_killed, args=(tmp_path, sending))
        writer.start()
        sending.close()
        last = receiving.recv()
        time.sleep(0.02)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        try:
            while True:
                last = receiving.recv()
        except EOFError:
            pass
        store = Store(tmp_path)
        events = store.events(1)
        assert len(events) > last
        assert [event.counts for event in events] == [f"mask-{number}" for number in range(len(events))]
        assert store.object(1).counts == events[-1].counts
        store.close()


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ([], "json object"),
        ({"kind": "start", "key": "0123456789"}, "kind"),
        ({"kind": "click", "key": "short", "y": 1, "x": 1, "positive": True}, "key"),
        ({"kind": "click", "key": "0123456789", "y": 1, "x": 1}, "positive"),
        ({"kind": "click", "key": "0123456789", "y": 1, "x": 1, "positive": "no"}, "positive"),
        ({"kind": "click", "key": "0123456789", "y": float("nan"), "x": 1, "positive": True}, "y of a click"),
        ({"kind": "click", "key": "0123456789", "y": True, "x": 1, "positive": True}, "y of a click"),
        ({"kind": "click", "key": "0123456789", "y": 10, "x": 1, "positive": True}, "outside the photo of 20 x 10"),
        ({"kind": "choose", "key": "0123456789", "index": -1}, "index"),
        ({"kind": "threshold", "key": "0123456789", "value": 1}, "value"),
        ({"kind": "specks", "key": "0123456789", "pixels": 0}, "pixels"),
        ({"kind": "brush", "key": "0123456789", "points": [], "radius": 3, "positive": True}, "points"),
        ({"kind": "brush", "key": "0123456789", "points": [[1, 2, 3]], "radius": 3, "positive": True}, "pair"),
        ({"kind": "brush", "key": "0123456789", "points": [[1, 1e300]], "radius": 3, "positive": True}, "outside"),
        ({"kind": "brush", "key": "0123456789", "points": [[1, 2]], "radius": 0, "positive": True}, "radius"),
    ],
)
def test_impossible_events_are_named(body, named):
    with pytest.raises(BadRequest, match=named):
        parse_event(body, (10, 20))
