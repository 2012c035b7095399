// What a person can do, and what the page shows then. Pointer and keys end here.

import { ApiError, ask, person } from "./api.js";
import { pictureAddress } from "./canvas.js";
import { byId, listCandidates, listClasses, listObjects, listPhotos } from "./panels.js";
import { Runs } from "./rle.js";

/** @typedef {import("./api.js").PhotoRow} PhotoRow */
/** @typedef {import("./api.js").OpenedPhoto} OpenedPhoto */
/** @typedef {import("./dialogue.js").Item} Item */
/** @typedef {import("./dialogue.js").Dialogues} Dialogues */
/** @typedef {import("./canvas.js").Stage} Stage */

const HEARTBEAT_MILLISECONDS = 20_000;
const BUBBLE_MILLISECONDS = 6_000;

export class Page {
  /** @param {import("./api.js").Start} start @param {Stage} stage @param {Dialogues} dialogues */
  constructor(start, stage, dialogues) {
    this.start = start;
    this.stage = stage;
    this.dialogues = dialogues;
    this.classes = start.classes;
    this.classId = Number(localStorage.getItem("clicklab-class")) || start.classes[0].id;
    if (!this.classes.some((row) => row.id === this.classId)) this.classId = this.classes[0].id;
    /** @type {PhotoRow[]} */
    this.photos = [];
    /** @type {PhotoRow | null} */
    this.photo = null;
    /** Why nothing can be changed here. @type {string | null} */
    this.locked = null;
    /** @type {Item | null} the object that clicks go to */
    this.open = null;
    /** Finished and deleted objects, latest last: undo takes them back. @type {Item[]} */
    this.recent = [];
    /** @type {"click" | "brush" | "eraser"} */
    this.tool = "click";
    this.radius = Number(localStorage.getItem("clicklab-radius")) || 12;
    /** Where the pointer is, in photo pixels. */
    this.pointer = { y: 0, x: 0, inside: false };
    /** @type {Item | null} */
    this.pointedInList = null;
    /** @type {{runs: Runs[], scores: number[], chosen: number} | null} */
    this.candidates = null;
    this.candidatesOf = "";
    /** What the threshold slider shows while it moves. @type {Runs | null} */
    this.preview = null;
    this.bubbleTimer = 0;
    /** @type {string | null} */
    this.away = null;
    dialogues.onChange = () => this.refresh();
    dialogues.onRefusal = (sentence) => this.say(sentence, true);
    dialogues.onAway = (sentence) => {
      this.away = sentence;
      this.#showBanner();
    };
    dialogues.onStale = () => void this.reload();
    setInterval(() => void this.#heartbeat(), HEARTBEAT_MILLISECONDS);
  }

  // ---- photos

  async refreshPhotos() {
    this.photos = await ask("/api/photos");
    this.#showPhotos();
  }

  #showPhotos() {
    listPhotos(this.photos, this.photo?.id ?? 0, person.id, (id) => void this.openPhoto(id));
  }

  /** @param {number} id */
  async openPhoto(id) {
    if (this.photo?.id === id && this.stage.base) return;
    const last = this.photo;
    if (last) this.finish();
    const place = this.photos.findIndex((photo) => photo.id === id);
    const ahead = this.photos[place + 1]?.id ?? null;
    this.#leave();
    byId("bubble").hidden = true;
    byId("busy").hidden = false;
    /** @type {OpenedPhoto} */
    let found;
    try {
      found = await ask(`/api/photos/${id}/open`, { ahead });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.photo = this.photos[place] ?? null;
      this.locked = error.message;
      this.stage.clear();
      byId("name").textContent = this.photo?.name ?? "";
      this.#showBanner();
      this.refresh();
      this.#showPhotos();
      return;
    }
    if (last && last.id !== id) void this.#release(last.id);
    this.photo = found;
    this.locked = found.locked;
    location.hash = String(id);
    byId("name").textContent = found.name;
    byId("name").title = found.name;
    this.#showBanner();
    this.#load(found);
    await this.stage.show(id, found.width ?? 1, found.height ?? 1).catch(() => this.say("The picture of this photo did not arrive: reload the page (F5).", true));
    this.refresh();
    await this.refreshPhotos();
    const next = this.photos.find((photo) => photo.id === ahead);
    if (next && next.width && next.height) new Image().src = pictureAddress(next.id, next.width, next.height);
  }

  /** The objects of a photo; the one that was open last is open again. @param {OpenedPhoto} found */
  #load(found) {
    this.dialogues.load(found.id, found.objects);
    const { items } = this.dialogues;
    const unfinished = items.filter((item) => this.dialogues.expected(item).state === "open" && (this.dialogues.filled(item) || (item.known?.redo ?? 0) > 0));
    this.open = unfinished.at(-1) ?? null;
    if (this.open) this.classId = this.open.classId;
    this.recent = items.filter((item) => this.dialogues.expected(item).state === "done");
    this.refresh();
  }

  #leave() {
    this.open = null;
    this.recent = [];
    this.candidates = null;
    this.candidatesOf = "";
    this.preview = null;
    this.pointedInList = null;
    this.dialogues.items = [];
  }

  /** Takes what the server has: another window was at work here. */
  async reload() {
    if (!this.photo) return;
    const found = /** @type {OpenedPhoto} */ (await ask(`/api/photos/${this.photo.id}/open`, {}));
    this.locked = found.locked;
    this.#showBanner();
    this.#load(found);
  }

  /** @param {number} id */
  async #release(id) {
    await this.dialogues.pump();
    await ask(`/api/photos/${id}/release`, {}).catch(() => {});
  }

  async #heartbeat() {
    if (!this.photo || document.hidden) return;
    try {
      await ask(`/api/photos/${this.photo.id}/lease`, {});
      if (this.locked) await this.reload();
    } catch (error) {
      if (error instanceof ApiError && error.status === 409 && this.locked !== error.message) await this.reload();
    }
    await this.refreshPhotos().catch(() => {});
  }

  /** @param {number} step +1 or -1 */
  async move(step) {
    const place = this.photos.findIndex((photo) => photo.id === this.photo?.id);
    const next = this.photos[place + step];
    if (step > 0) await this.#markDone();
    if (next) await this.openPhoto(next.id);
    else {
      this.finish();
      this.say(step > 0 ? "This is the last photo." : "This is the first photo.");
      await this.refreshPhotos();
    }
  }

  /** A photo with objects is done when it is left forwards. */
  async #markDone() {
    this.finish();
    if (!this.photo || this.locked || !this.#listed().length) return;
    await this.#setState("done");
  }

  /** @param {string} state */
  async #setState(state) {
    if (!this.photo) return;
    await ask(`/api/photos/${this.photo.id}/state`, { state }).catch((error) => this.say(error.message, true));
  }

  async skip() {
    const now = this.photos.find((photo) => photo.id === this.photo?.id);
    if (!now || this.#refuseLocked()) return;
    if (now.state === "skipped") {
      await this.#setState("todo");
      await this.refreshPhotos();
      this.say("Not skipped any more.");
      return;
    }
    await this.#setState("skipped");
    const next = this.photos[this.photos.indexOf(now) + 1];
    if (next) await this.openPhoto(next.id);
    else await this.refreshPhotos();
  }

  // ---- clicks and edits

  /** @returns {boolean} whether the photo cannot be changed; says so */
  #refuseLocked() {
    if (this.locked) this.say(this.locked, true);
    return this.locked !== null || !this.photo;
  }

  /** @param {number} y @param {number} x photo pixels @param {boolean} positive */
  click(y, x, positive) {
    if (this.#refuseLocked() || !this.photo) return;
    const { width, height } = this.stage.size;
    const [row, column] = [Math.floor(y), Math.floor(x)];
    if (row < 0 || column < 0 || row >= height || column >= width) return;
    if (!this.open && !positive) {
      this.say("Begin with a left click on the object.");
      return;
    }
    const item = this.#openOne();
    this.dialogues.send(item, { kind: "click", y: row, x: column, positive });
  }

  /** @param {[number, number][]} points @param {boolean} positive */
  stroke(points, positive) {
    if (this.#refuseLocked()) return;
    if (!this.open && !positive) {
      this.say("Reopen an object (R) to erase from it.");
      return;
    }
    this.dialogues.send(this.#openOne(), { kind: "brush", points, radius: this.radius, positive });
  }

  #openOne() {
    this.open ??= this.dialogues.create(this.classId);
    byId("welcome").hidden = true;
    return this.open;
  }

  /** @param {"fill" | "specks"} kind */
  clean(kind) {
    if (this.#refuseLocked()) return;
    if (!this.open) return this.say("Open an object first: click on one, or reopen one (R).");
    const pixels = Number(/** @type {HTMLInputElement} */ (byId("speck-size")).value) || 100;
    this.dialogues.send(this.open, kind === "fill" ? { kind } : { kind, pixels });
  }

  undo() {
    if (this.#refuseLocked()) return;
    if (this.open && this.dialogues.expected(this.open).undo > 0) {
      this.dialogues.send(this.open, { kind: "undo" });
      return;
    }
    const last = this.recent.pop();
    if (!last) return this.say("There is nothing to undo on this photo.");
    this.finish();
    const { state } = this.dialogues.expected(last);
    this.dialogues.send(last, { kind: state === "deleted" ? "restore" : "reopen" });
    this.open = last;
    this.classId = last.classId;
    this.refresh();
  }

  redo() {
    if (this.#refuseLocked()) return;
    if (!this.open || this.dialogues.expected(this.open).redo < 1) return this.say("There is nothing to redo.");
    this.dialogues.send(this.open, { kind: "redo" });
  }

  /** Finishes the open object. @returns {boolean} whether there was one */
  finish() {
    const item = this.open;
    if (!item) return false;
    this.open = null;
    this.candidates = null;
    this.preview = null;
    if (!this.locked && this.dialogues.filled(item)) {
      this.recent.push(item);
      this.dialogues.send(item, { kind: "finish" });
      return true;
    }
    this.refresh();
    return false;
  }

  /** Enter: the object, and when none is open the photo. */
  finishOrMove() {
    if (!this.finish()) void this.move(1);
  }

  drop() {
    if (this.#refuseLocked() || !this.open) return;
    const item = this.open;
    if (this.dialogues.expected(item).undo > 0) this.dialogues.send(item, { kind: "drop" });
    this.say("Dropped. Undo (Ctrl+Z) brings it back.");
  }

  /** @param {Item} item */
  reopen(item) {
    if (this.#refuseLocked() || item === this.open) return;
    this.finish();
    this.recent = this.recent.filter((one) => one !== item);
    this.dialogues.send(item, { kind: "reopen" });
    this.open = item;
    this.classId = item.classId;
    this.refresh();
  }

  /** @param {Item} item */
  remove(item) {
    if (this.#refuseLocked()) return;
    if (item === this.open) this.open = null;
    else this.finish();
    this.candidates = null;
    this.recent = [...this.recent.filter((one) => one !== item), item];
    this.dialogues.send(item, { kind: "delete" });
  }

  /** @param {Item} item */
  toggle(item) {
    item.visible = !item.visible;
    this.refresh();
  }

  /** The object under the pointer, the smallest of several; the open one where there is none. @returns {Item | null} */
  pointed() {
    if (this.pointedInList) return this.pointedInList;
    const { y, x, inside } = this.pointer;
    if (!inside) return this.open;
    const hit = this.#listed().filter((item) => item.visible && item.runs?.holds(Math.floor(y), Math.floor(x)));
    hit.sort((a, b) => (a.runs?.area ?? 0) - (b.runs?.area ?? 0));
    return hit.find((item) => item !== this.open) ?? hit[0] ?? null;
  }

  /** @param {number} classId */
  chooseClass(classId) {
    this.classId = classId;
    localStorage.setItem("clicklab-class", String(classId));
    if (this.open && !this.locked && this.open.classId !== classId) this.dialogues.setClass(this.open, classId);
    else this.refresh();
  }

  /** @param {string} name */
  async addClass(name) {
    const row = await ask("/api/classes", { name });
    if (!this.classes.some((one) => one.id === row.id)) this.classes.push(row);
    this.chooseClass(row.id);
  }

  // ---- candidates and threshold

  /** @param {number} step */
  candidate(step) {
    if (!this.candidates) return;
    const count = this.candidates.runs.length;
    this.choose((this.candidates.chosen + step + count) % count);
  }

  /** @param {number} index */
  choose(index) {
    if (this.#refuseLocked() || !this.open || !this.candidates || index >= this.candidates.runs.length || index === this.candidates.chosen) return;
    this.candidates.chosen = index;
    this.dialogues.send(this.open, { kind: "choose", index });
  }

  async #wantCandidates() {
    const item = this.open;
    const known = item?.known;
    if (!item || !known || known.candidates < 2 || this.dialogues.waiting(item).length) {
      if (!item || (known && known.candidates < 2)) this.candidates = null;
      return;
    }
    const name = `${known.id} ${known.number}`;
    if (this.candidatesOf === name) return;
    this.candidatesOf = name;
    try {
      const found = await ask(`/api/objects/${known.id}/candidates`);
      if (this.open !== item || this.candidatesOf !== name) return; // too late
      this.candidates = { runs: found.masks.map((/** @type {import("./rle.js").Rle} */ rle) => new Runs(rle)), scores: found.scores, chosen: found.chosen };
      this.refresh();
    } catch (error) {
      if (error instanceof ApiError) this.say(error.message, true);
    }
  }

  /** While the slider moves. @param {number} value */
  async previewThreshold(value) {
    const id = this.open?.known?.id;
    if (!id || this.previewing) {
      this.nextPreview = value;
      return;
    }
    this.previewing = true;
    this.nextPreview = undefined;
    try {
      const found = await ask(`/api/objects/${id}/preview`, { value });
      if (this.open?.known?.id === id) this.preview = new Runs(found.mask);
      this.refresh();
    } catch (error) {
      if (error instanceof ApiError && !error.passing) this.say(error.message, true);
    } finally {
      this.previewing = false;
    }
    if (this.nextPreview !== undefined) await this.previewThreshold(this.nextPreview);
  }

  /** The slider was let go. @param {number} value */
  setThreshold(value) {
    this.nextPreview = undefined;
    if (this.#refuseLocked() || !this.open) return;
    this.dialogues.send(this.open, { kind: "threshold", value });
  }

  // ---- what is shown

  /** Objects that exist for people: with a mask or on the way to one. @returns {Item[]} */
  #listed() {
    return this.dialogues.items.filter((item) => this.dialogues.expected(item).state !== "deleted" && (item === this.open || this.dialogues.filled(item)));
  }

  refresh() {
    const { stage, dialogues } = this;
    const items = this.#listed();
    const open = this.open;
    const expected = open ? dialogues.expected(open) : null;
    if (open && dialogues.waiting(open).length) this.preview = null;
    stage.shapes = [...items.filter((item) => item !== open), ...(open ? [open] : [])].flatMap((item) => {
      const runs = item === open && this.preview ? this.preview : item.runs;
      return runs && item.visible ? [{ runs, colour: item.colour, open: item === open }] : [];
    });
    stage.marks = expected?.clicks ?? [];
    stage.masksChanged();
    listObjects(items, open, this.classes, {
      reopen: (item) => this.reopen(item),
      remove: (item) => this.remove(item),
      toggle: (item) => this.toggle(item),
      hover: (item) => (this.pointedInList = item),
    });
    listClasses(this.classes, this.classId, (id) => this.chooseClass(id));
    listCandidates(this.candidates, stage.base, (index) => this.choose(index));
    byId("busy").hidden = dialogues.outbox.length === 0 && (this.photo === null || stage.base !== null || this.locked !== null);
    this.#showControls(expected, open);
    byId("welcome").hidden = this.locked !== null || items.length > 0 || this.photo === null || this.photos.some((photo) => photo.state !== "todo");
    void this.#wantCandidates();
  }

  /** @param {{undo: number, redo: number} | null} expected @param {Item | null} open */
  #showControls(expected, open) {
    /** @type {HTMLButtonElement} */ (byId("undo")).disabled = !(expected && expected.undo > 0) && this.recent.length === 0;
    /** @type {HTMLButtonElement} */ (byId("redo")).disabled = !(expected && expected.redo > 0);
    byId("finish").textContent = open ? "Finish object" : "Next photo";
    byId("finish").title = open ? "Finish the object (Enter)" : "Photo done, to the next one (Enter)";
    for (const id of ["fill", "specks"]) /** @type {HTMLButtonElement} */ (byId(id)).disabled = open === null;
    const slider = /** @type {HTMLInputElement} */ (byId("threshold"));
    const answered = open?.known && open.known.clicks.length > 0;
    slider.disabled = !answered;
    if (document.activeElement !== slider || !answered) slider.value = String(open?.known?.threshold ?? this.start.threshold);
    byId("threshold-value").textContent = Number(slider.value).toFixed(2);
    for (const tool of ["click", "brush", "eraser"]) byId(`tool-${tool}`).setAttribute("aria-pressed", String(tool === this.tool));
  }

  #showBanner() {
    const sentence = this.away ?? this.locked;
    byId("banner").hidden = sentence === null;
    byId("banner").textContent = sentence ?? "";
  }

  /** A sentence where the pointer is. @param {string} sentence @param {boolean} [bad] */
  say(sentence, bad = false) {
    const bubble = byId("bubble");
    bubble.textContent = sentence;
    bubble.className = bad ? "bad" : "";
    bubble.hidden = false;
    const { clientWidth, clientHeight } = this.stage.element;
    const { scale, x, y } = this.stage.view;
    const [left, top] = this.pointer.inside ? [this.pointer.x * scale + x + 16, this.pointer.y * scale + y + 16] : [16, 50];
    bubble.style.left = `${Math.max(8, Math.min(left, clientWidth - bubble.offsetWidth - 8))}px`;
    bubble.style.top = `${Math.max(8, Math.min(top, clientHeight - bubble.offsetHeight - 8))}px`;
    clearTimeout(this.bubbleTimer);
    this.bubbleTimer = window.setTimeout(() => (bubble.hidden = true), BUBBLE_MILLISECONDS);
  }
}
