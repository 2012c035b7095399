// The objects of the open photo, and what is on its way to the server.
//
// Everything a person does goes through the outbox, in order. It is kept in the browser until the server has written it:
// a server that is away, a reload or a closed tab loses nothing. The same thing sent twice counts once, by its key.

import { ApiError, ask, newKey } from "./api.js";
import { Runs } from "./rle.js";

/** @typedef {import("./api.js").ServerObject} ServerObject */
/**
 * @typedef {object} Entry  of the outbox
 * @property {string} key
 * @property {"create" | "event" | "class"} what
 * @property {string} object  its key
 * @property {number | null} id  of the object, once known
 * @property {number} photo
 * @property {number} order
 * @property {Record<string, any>} body
 */
/**
 * @typedef {object} Item  an object as the page knows it
 * @property {string} key
 * @property {number} photo
 * @property {number} colour
 * @property {boolean} visible
 * @property {number} classId
 * @property {ServerObject | null} known  as the server last said
 * @property {Runs | null} runs
 */

const RETRY_MILLISECONDS = [500, 1000, 2000, 4000];

export class Dialogues {
  /** @param {string} store identity of the store: entries of another one are not sent */
  constructor(store) {
    this.prefix = `clicklab-outbox ${store} `;
    this.photo = 0;
    /** @type {Item[]} */
    this.items = [];
    /** @type {Entry[]} */
    this.outbox = this.#kept();
    this.order = this.outbox.reduce((most, entry) => Math.max(most, entry.order), 0);
    this.sending = false;
    this.failures = 0;
    /** Something to be drawn has changed. */
    this.onChange = () => {};
    /** Something was refused. @type {(sentence: string, entry: Entry) => void} */
    this.onRefusal = () => {};
    /** The server went away, or came back (null). @type {(sentence: string | null) => void} */
    this.onAway = () => {};
    /** What the page shows is out of date. */
    this.onStale = () => {};
  }

  /** The objects of a photo that was opened. @param {number} photo @param {ServerObject[]} objects */
  load(photo, objects) {
    this.photo = photo;
    this.items = objects.map((known, number) => this.#item(known.key, photo, number, known.class, known));
    for (const entry of this.outbox) {
      if (entry.photo === photo && entry.what === "create" && !this.items.some((item) => item.key === entry.object))
        this.items.push(this.#item(entry.object, photo, this.items.length, entry.body.class, null));
    }
    this.onChange();
  }

  /** @param {string} key @param {number} photo @param {number} colour @param {number} classId @param {ServerObject | null} known @returns {Item} */
  #item(key, photo, colour, classId, known) {
    const runs = known && known.mask ? new Runs(known.mask) : null;
    return { key, photo, colour, visible: true, classId, known, runs };
  }

  /** A new object. @param {number} classId @returns {Item} */
  create(classId) {
    const key = newKey();
    const colour = this.items.reduce((most, item) => Math.max(most, item.colour), -1) + 1;
    const item = this.#item(key, this.photo, colour, classId, null);
    this.items.push(item);
    this.#put({ what: "create", object: key, body: { photo: this.photo, class: classId, key } });
    return item;
  }

  /** Something done to an object. @param {Item} item @param {Record<string, any>} body `kind` and what belongs to it */
  send(item, body) {
    const before = this.waiting(item).filter((entry) => entry.what === "event").length;
    const number = (item.known?.number ?? 0) + before;
    this.#put({ what: "event", object: item.key, body: { ...body, number } });
  }

  /** @param {Item} item @param {number} classId */
  setClass(item, classId) {
    item.classId = classId;
    this.#put({ what: "class", object: item.key, body: { class: classId } });
  }

  /** What was not answered yet. @param {Item} item */
  waiting(item) {
    return this.outbox.filter((entry) => entry.object === item.key);
  }

  /**
   * An object with everything that is on its way.
   * @param {Item} item
   * @returns {{state: string, clicks: {y: number, x: number, positive: boolean, waiting: boolean}[], undo: number, redo: number}}
   */
  expected(item) {
    const { known } = item;
    const clicks = (known?.clicks ?? []).map(([y, x, positive]) => ({ y, x, positive, waiting: false }));
    let state = known?.state ?? "open";
    let undo = known?.undo ?? 0;
    let redo = known?.redo ?? 0;
    for (const { what, body } of this.waiting(item)) {
      if (what !== "event") continue;
      if (body.kind === "finish") state = "done";
      else if (body.kind === "delete") state = "deleted";
      else if (body.kind === "reopen" || body.kind === "restore") state = "open";
      else if (body.kind === "undo") [undo, redo] = [undo - 1, redo + 1];
      else if (body.kind === "redo") [undo, redo] = [undo + 1, redo - 1];
      else [undo, redo] = [undo + 1, 0];
      if (body.kind === "click") clicks.push({ y: body.y, x: body.x, positive: body.positive, waiting: true });
      if (body.kind === "undo" && clicks.at(-1)?.waiting) clicks.pop();
      if (body.kind === "drop") clicks.length = 0;
    }
    return { state, clicks, undo, redo };
  }

  /** Whether an object has anything to show or to take back. @param {Item} item */
  filled(item) {
    return item.runs !== null || this.waiting(item).some((entry) => entry.body.kind === "click" || entry.body.kind === "brush");
  }

  /** @param {{what: Entry["what"], object: string, body: Record<string, any>}} part */
  #put(part) {
    const key = newKey();
    const id = this.items.find((item) => item.key === part.object)?.known?.id ?? null;
    const body = part.what === "event" ? { ...part.body, key } : part.body;
    /** @type {Entry} */
    const entry = { ...part, body, key, id, photo: this.photo, order: ++this.order };
    this.outbox.push(entry);
    this.#keep(entry);
    this.onChange();
    void this.pump();
  }

  /** Sends what waits, one after the other. */
  async pump() {
    if (this.sending) return;
    this.sending = true;
    try {
      while (this.outbox.length) {
        const entry = this.outbox[0];
        try {
          const found = await this.#post(entry);
          this.#away(null);
          this.#answered(entry, found);
        } catch (error) {
          if (!(error instanceof ApiError)) throw error;
          if (error.passing) {
            this.#away(error.status === 0 ? "The server does not answer. Your clicks are kept here and sent when it is back." : error.message);
            await new Promise((resolve) => setTimeout(resolve, RETRY_MILLISECONDS[Math.min(this.failures++, RETRY_MILLISECONDS.length - 1)]));
          } else {
            this.#away(null);
            this.#refused(entry, error);
          }
        }
      }
    } finally {
      this.sending = false;
    }
  }

  /** @param {Entry} entry @returns {Promise<ServerObject>} */
  #post(entry) {
    if (entry.what === "create") return ask("/api/objects", entry.body);
    if (entry.id === null) throw new ApiError(409, "This object was not made on the server: click again.");
    return ask(`/api/objects/${entry.id}/${entry.what === "event" ? "events" : "class"}`, entry.body);
  }

  /** @param {Entry} entry @param {ServerObject} found */
  #answered(entry, found) {
    this.#forget(entry);
    for (const later of this.outbox) if (later.object === entry.object) later.id = found.id;
    const item = this.items.find((one) => one.key === entry.object);
    if (item) {
      // of an answer that arrives late only what is newer counts
      if (!item.known || found.number >= item.known.number) this.update(item, found);
    }
    this.onChange();
  }

  /** @param {Item} item @param {ServerObject} found */
  update(item, found) {
    const same = item.known?.mask?.counts === found.mask?.counts && item.known?.mask !== undefined;
    if (!same) item.runs = found.mask ? new Runs(found.mask) : null;
    item.known = found;
    if (!this.waiting(item).some((entry) => entry.what === "class")) item.classId = found.class;
  }

  /** @param {Entry} entry @param {ApiError} error */
  #refused(entry, error) {
    this.#forget(entry);
    const whole = error.status === 409 || entry.what === "create";
    for (const later of this.outbox.filter((one) => one.object === entry.object)) {
      if (whole) this.#forget(later);
      else if (later.what === "event" && entry.what === "event") later.body.number -= 1;
    }
    if (entry.what === "create") this.items = this.items.filter((item) => item.key !== entry.object);
    this.onRefusal(error.message, entry);
    this.onChange();
    if (error.status === 409) this.onStale();
  }

  /** @param {string | null} sentence */
  #away(sentence) {
    if (sentence === null) this.failures = 0;
    this.onAway(sentence);
  }

  /** @param {Entry} entry */
  #keep(entry) {
    try {
      localStorage.setItem(`${this.prefix}${String(entry.order).padStart(12, "0")} ${entry.key}`, JSON.stringify(entry));
    } catch {
      // the browser's own store is full: what waits is still here as long as the page is open
    }
  }

  /** @param {Entry} entry */
  #forget(entry) {
    this.outbox = this.outbox.filter((one) => one !== entry);
    localStorage.removeItem(`${this.prefix}${String(entry.order).padStart(12, "0")} ${entry.key}`);
  }

  /** What an earlier page could not send. @returns {Entry[]} */
  #kept() {
    const names = Object.keys(localStorage).filter((name) => name.startsWith(this.prefix));
    return names.sort().map((name) => JSON.parse(localStorage.getItem(name) ?? "null")).filter((entry) => entry !== null);
  }
}
