// The lists beside the photo: photos, objects, classes, candidates.

import { COLOURS, OPEN_COLOUR } from "./paint.js";
import { thumbnail } from "./canvas.js";

/** @typedef {import("./api.js").PhotoRow} PhotoRow */
/** @typedef {import("./api.js").ClassRow} ClassRow */
/** @typedef {import("./dialogue.js").Item} Item */
/** @typedef {import("./rle.js").Runs} Runs */

/** @template {HTMLElement} T @param {string} id @returns {T} */
export function byId(id) {
  return /** @type {T} */ (document.getElementById(id));
}

/** @template {keyof HTMLElementTagNameMap} K @param {K} tag @param {Partial<HTMLElementTagNameMap[K]>} [settings] @returns {HTMLElementTagNameMap[K]} */
function make(tag, settings = {}) {
  return Object.assign(document.createElement(tag), settings);
}

const MARKS = { todo: "", doing: "…", done: "✓", skipped: "–" };
const WORDS = { todo: "to do", doing: "begun", done: "done", skipped: "skipped" };

/** Thumbnails are fetched when they come into sight. */
const inSight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const image = /** @type {HTMLImageElement} */ (target);
    if (isIntersecting && image.dataset.src) {
      image.src = image.dataset.src;
      delete image.dataset.src;
      inSight.unobserve(image);
    }
  }
});

/**
 * @param {PhotoRow[]} photos
 * @param {number} current
 * @param {string} me id of the person
 * @param {(id: number) => void} open
 */
export function listPhotos(photos, current, me, open) {
  const list = byId("photo-list");
  const filter = /** @type {HTMLSelectElement} */ (byId("filter")).value;
  const shown = photos.filter((photo) => !filter || photo.state === filter || photo.id === current);
  const old = new Map(Array.from(list.children, (line) => [/** @type {HTMLElement} */ (line).dataset.id, line]));
  list.replaceChildren(...shown.map((photo) => old.get(String(photo.id)) ?? photoLine(photo, open)));
  shown.forEach((photo, number) => {
    const button = /** @type {HTMLButtonElement} */ (list.children[number].firstElementChild);
    const mark = /** @type {HTMLElement} */ (button.querySelector(".mark"));
    const other = photo.holder !== null && photo.holder !== me;
    const who = other ? `, ${photo.holder_name || "somebody else"} is working on it` : "";
    mark.textContent = other ? "☻" : MARKS[/** @type {keyof typeof MARKS} */ (photo.state)];
    mark.hidden = !mark.textContent;
    button.title = `${photo.name} (${WORDS[/** @type {keyof typeof WORDS} */ (photo.state)]}${who})`;
    button.setAttribute("aria-label", button.title);
    button.setAttribute("aria-current", String(photo.id === current));
    if (photo.id === current) button.scrollIntoView({ block: "nearest" });
  });
  const done = photos.filter((photo) => photo.state === "done" || photo.state === "skipped").length;
  byId("progress").setAttribute("aria-valuemax", String(photos.length));
  byId("progress").setAttribute("aria-valuenow", String(done));
  /** @type {HTMLElement} */ (byId("progress").firstElementChild).style.width = `${(100 * done) / Math.max(photos.length, 1)}%`;
  byId("done-count").textContent = `${done} done`;
  const place = photos.findIndex((photo) => photo.id === current);
  byId("place").textContent = place < 0 ? "" : `${place + 1} / ${photos.length}`;
}

/** @param {PhotoRow} photo @param {(id: number) => void} open */
function photoLine(photo, open) {
  const line = make("li");
  line.dataset.id = String(photo.id);
  const button = make("button");
  const image = make("img", { alt: "" });
  image.dataset.src = `/photo/${photo.id}?side=160`;
  image.addEventListener("error", () => image.replaceWith(make("span", { className: "broken", textContent: photo.name })));
  inSight.observe(image);
  button.append(image, make("span", { className: "mark" }));
  button.addEventListener("click", () => open(photo.id));
  line.append(button);
  return line;
}

/**
 * @param {Item[]} items
 * @param {Item | null} open
 * @param {ClassRow[]} classes
 * @param {{reopen: (item: Item) => void, remove: (item: Item) => void, toggle: (item: Item) => void, hover: (item: Item | null) => void}} actions
 */
export function listObjects(items, open, classes, actions) {
  const names = new Map(classes.map((row) => [row.id, row.name]));
  const list = byId("objects");
  list.replaceChildren(
    ...items.map((item, number) => {
      const line = make("li", { className: item === open ? "open" : "" });
      const swatch = make("span", { className: "swatch" });
      swatch.style.background = item === open ? OPEN_COLOUR : COLOURS[item.colour % COLOURS.length];
      const label = make("button", { className: "label bare", textContent: `${number + 1} ${names.get(item.classId) ?? "?"}` });
      label.title = item === open ? "The open object" : "Reopen and correct (R)";
      label.addEventListener("click", () => actions.reopen(item));
      const eye = make("button", { className: "bare", textContent: item.visible ? "◉" : "○", title: item.visible ? "Hide (V)" : "Show (V)" });
      eye.setAttribute("aria-label", `${item.visible ? "Hide" : "Show"} object ${number + 1}`);
      eye.addEventListener("click", () => actions.toggle(item));
      const remove = make("button", { className: "bare", textContent: "×", title: "Delete (Del); Undo brings it back" });
      remove.setAttribute("aria-label", `Delete object ${number + 1}`);
      remove.addEventListener("click", () => actions.remove(item));
      line.append(swatch, label, eye, remove);
      line.addEventListener("pointerenter", () => actions.hover(item));
      line.addEventListener("pointerleave", () => actions.hover(null));
      return line;
    }),
  );
  byId("object-count").textContent = items.length ? String(items.length) : "";
  byId("no-objects").hidden = items.length > 0;
}

/** @param {ClassRow[]} classes @param {number} chosen @param {(id: number) => void} choose */
export function listClasses(classes, chosen, choose) {
  byId("classes").replaceChildren(
    ...classes.map((row, number) => {
      const line = make("li");
      const button = make("button", { title: row.name });
      button.setAttribute("aria-pressed", String(row.id === chosen));
      button.append(make("kbd", { textContent: number < 9 ? String(number + 1) : "" }), row.name);
      button.addEventListener("click", () => choose(row.id));
      line.append(button);
      return line;
    }),
  );
}

/**
 * @param {{runs: Runs[], scores: number[], chosen: number} | null} found
 * @param {HTMLImageElement | null} base
 * @param {(index: number) => void} choose
 */
export function listCandidates(found, base, choose) {
  const strip = byId("candidates");
  strip.hidden = found === null;
  strip.replaceChildren();
  if (!found) return;
  const boxes = found.runs.flatMap((runs) => (runs.box ? [runs.box] : []));
  const { width, height } = found.runs[0];
  const margin = 0.05 * Math.max(width, height);
  const box = {
    left: Math.max(Math.min(...boxes.map((one) => one.left), width) - margin, 0),
    top: Math.max(Math.min(...boxes.map((one) => one.top), height) - margin, 0),
    right: Math.min(Math.max(...boxes.map((one) => one.right), 1) + margin, width),
    bottom: Math.min(Math.max(...boxes.map((one) => one.bottom), 1) + margin, height),
  };
  found.runs.forEach((runs, index) => {
    const button = make("button", { title: `Candidate ${index + 1} (Shift+${index + 1})` });
    button.setAttribute("role", "option");
    button.setAttribute("aria-selected", String(index === found.chosen));
    const canvas = make("canvas", { width: 168, height: 126 });
    thumbnail(canvas, base, runs, box);
    button.append(canvas, found.scores[index].toFixed(2));
    button.addEventListener("click", () => choose(index));
    strip.append(button);
  });
}
