// The start of the page: everything is made here and tied to pointer, keys and buttons.

import { ApiError, ask, person, setName } from "./api.js";
import { Stage } from "./canvas.js";
import { Dialogues } from "./dialogue.js";
import { byKey, digit, inField, listKeys, written } from "./keys.js";
import { Page } from "./page.js";
import { byId } from "./panels.js";
import { listenToPointer } from "./pointer.js";

const CROSS_STEP = 4; // CSS pixels
const RADIUS_STEP = 1.25;

/** @typedef {import("./api.js").Start} Start */

async function begin() {
  /** @type {Start} */
  const start = await ask("/api/start");
  if (!start.shared) person.id = "here"; // on one's own machine all windows are one person's
  document.title = `ClickLab: ${start.title}`;
  const stage = new Stage(byId("stage"));
  const page = new Page(start, stage, new Dialogues(start.store));
  const held = { space: false, dragged: false };
  let adding = true;
  const { showBrush } = listenToPointer(page, held, () => adding);
  tieSettings(page, start);
  const actions = actionsOf(page, showBrush);
  tieButtons(page, actions);
  tieKeys(page, start, actions, held);
  byId("touch").hidden = !matchMedia("(pointer: coarse)").matches;
  byId("sign").addEventListener("click", () => {
    adding = !adding;
    byId("sign").textContent = adding ? "+ add" : "− remove";
    byId("sign").setAttribute("aria-pressed", String(!adding));
  });
  byId("touch-finish").addEventListener("click", () => page.finishOrMove());
  if (window.innerWidth < 900) document.body.classList.add("no-photos");
  window.addEventListener("pagehide", () => {
    if (page.photo) navigator.sendBeacon(`/api/photos/${page.photo.id}/release?person=${person.id}`);
  });
  window.addEventListener("pageshow", (event) => event.persisted && void page.reload());
  await page.dialogues.pump();
  await page.refreshPhotos();
  const wanted = Number(location.hash.slice(1));
  const first = page.photos.find((photo) => photo.id === wanted) ?? page.photos.find((photo) => photo.state === "doing" || photo.state === "todo") ?? page.photos[0];
  await page.openPhoto(first.id);
  stage.element.focus();
}

/** @param {Page} page @param {Start} start */
function tieSettings(page, start) {
  const root = document.documentElement;
  const light = matchMedia("(prefers-color-scheme: light)").matches;
  root.dataset.theme = localStorage.getItem("clicklab-theme") ?? (light ? "light" : "dark");
  byId("network").textContent = `Network: ${start.network}`;
  const opacity = /** @type {HTMLInputElement} */ (byId("opacity"));
  opacity.value = localStorage.getItem("clicklab-opacity") ?? "0.35";
  const setOpacity = () => {
    page.stage.opacity = Number(opacity.value);
    byId("opacity-value").textContent = `${Math.round(page.stage.opacity * 100)} %`;
    localStorage.setItem("clicklab-opacity", opacity.value);
    page.stage.masksChanged();
  };
  opacity.addEventListener("input", setOpacity);
  setOpacity();
  const threshold = /** @type {HTMLInputElement} */ (byId("threshold"));
  threshold.addEventListener("input", () => {
    byId("threshold-value").textContent = Number(threshold.value).toFixed(2);
    void page.previewThreshold(Number(threshold.value));
  });
  threshold.addEventListener("change", () => page.setThreshold(Number(threshold.value)));
  byId("who").hidden = !start.shared;
  const name = /** @type {HTMLInputElement} */ (byId("person"));
  name.value = person.name;
  name.addEventListener("change", () => setName(name.value));
  page.stage.onZoom = (scale) => (byId("zoom").textContent = `${Math.round(scale * window.devicePixelRatio * 100)} %`);
  byId("formats").replaceChildren(
    ...start.formats.map((form) => {
      const line = document.createElement("li");
      const link = Object.assign(document.createElement("a"), { href: `/api/export/${form}`, download: "", textContent: form });
      line.append(link);
      return line;
    }),
  );
}

/** What keys and buttons do. @param {Page} page @param {() => void} showBrush @returns {Record<string, () => void>} */
function actionsOf(page, showBrush) {
  const { stage } = page;
  /** @param {"click" | "brush" | "eraser"} tool */
  const take = (tool) => {
    page.tool = page.tool === tool ? "click" : tool;
    showBrush();
    page.refresh();
  };
  /** @param {number} factor */
  const resize = (factor) => {
    page.radius = Math.min(Math.max(page.radius * factor, 0.5), 1000);
    localStorage.setItem("clicklab-radius", String(page.radius));
    showBrush();
    stage.changed();
  };
  /** @param {(item: import("./dialogue.js").Item) => void} act @param {string} otherwise */
  const onPointed = (act, otherwise) => {
    const item = page.pointed();
    if (item) act(item);
    else page.say(otherwise);
  };
  /** @param {number} factor */
  const zoom = (factor) => {
    const at = stage.cross ?? (page.pointer.inside ? page.pointer : { y: stage.size.height / 2, x: stage.size.width / 2 });
    stage.zoom(factor, at.x * stage.view.scale + stage.view.x, at.y * stage.view.scale + stage.view.y);
  };
  /** @param {boolean} positive */
  const clickAtCross = (positive) => {
    if (stage.cross) page.click(stage.cross.y + 0.5, stage.cross.x + 0.5, positive);
    else page.say("Place the cross with the arrow keys first.");
  };
  return {
    finish: () => page.finishOrMove(),
    drop: () => (page.tool === "click" ? page.drop() : take("click")),
    undo: () => page.undo(),
    redo: () => page.redo(),
    next: () => void page.move(1),
    previous: () => void page.move(-1),
    skip: () => void page.skip(),
    candidate: () => page.candidate(1),
    candidate_back: () => page.candidate(-1),
    reopen: () => onPointed((item) => page.reopen(item), "Point at a finished object to reopen it."),
    delete: () => onPointed((item) => page.remove(item), "Point at an object to delete it."),
    visible: () => onPointed((item) => page.toggle(item), "Point at an object to hide it."),
    click: () => page.tool !== "click" && take(page.tool),
    brush: () => take("brush"),
    eraser: () => take("eraser"),
    smaller: () => resize(1 / RADIUS_STEP),
    larger: () => resize(RADIUS_STEP),
    fill: () => page.clean("fill"),
    specks: () => page.clean("specks"),
    fit: () => stage.fit(),
    zoom_in: () => zoom(1.5),
    zoom_out: () => zoom(1 / 1.5),
    point_add: () => clickAtCross(true),
    point_remove: () => clickAtCross(false),
    panels: () => {
      const folded = document.body.classList.contains("no-side") && document.body.classList.contains("no-photos");
      document.body.classList.toggle("no-side", !folded);
      document.body.classList.toggle("no-photos", !folded);
    },
    area: nextArea,
    theme: () => {
      const root = document.documentElement;
      root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
      localStorage.setItem("clicklab-theme", root.dataset.theme);
    },
    help: () => /** @type {HTMLDialogElement} */ (byId("help")).showModal(),
  };
}

/** @param {Page} page @param {Record<string, () => void>} actions */
function tieButtons(page, actions) {
  /** @type {[string, string][]} */
  const buttons = [
    ["undo", "undo"], ["redo", "redo"], ["zoom", "fit"], ["theme", "theme"], ["help-button", "help"], ["fill", "fill"], ["specks", "specks"],
    ["tool-click", "click"], ["tool-brush", "brush"], ["tool-eraser", "eraser"], ["finish", "finish"],
  ];
  for (const [id, action] of buttons) byId(id).addEventListener("click", actions[action]);
  byId("fold-photos").addEventListener("click", () => document.body.classList.toggle("no-photos"));
  byId("fold-side").addEventListener("click", () => document.body.classList.toggle("no-side"));
  byId("filter").addEventListener("change", () => void page.refreshPhotos());
  byId("new-class").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = /** @type {HTMLInputElement} */ (byId("class-name"));
    if (!field.value.trim()) return;
    page.addClass(field.value).then(
      () => {
        field.value = "";
        page.stage.element.focus();
      },
      (error) => page.say(error.message, true),
    );
  });
}

/** @param {Page} page @param {Start} start @param {Record<string, () => void>} actions @param {{space: boolean, dragged: boolean}} held */
function tieKeys(page, start, actions, held) {
  const keys = byKey(start.keys);
  const help = /** @type {HTMLDialogElement} */ (byId("help"));
  listKeys(byId("key-list"), start.keys);
  const hideKeys = start.keys.hide ?? [];

  /** @param {boolean} shown */
  const showMasks = (shown) => {
    page.stage.masksShown = shown;
    page.stage.changed();
  };

  window.addEventListener("keydown", (event) => {
    if (help.open) return;
    if (event.key === "F6" || event.key === "Tab") document.body.classList.add("by-keys"); // shows where the focus is
    const { target } = event;
    if (inField(target)) {
      if (event.key === "Escape") page.stage.element.focus();
      return;
    }
    const name = written(event);
    const number = digit(event);
    const onStage = target === page.stage.element || target === document.body;
    if (number !== null) {
      event.preventDefault();
      if (event.shiftKey) page.choose(number - 1);
      else if (page.classes[number - 1]) page.chooseClass(page.classes[number - 1].id);
      else page.say(`There is no class ${number}: add one on the right.`);
      return;
    }
    if (onStage && event.key.startsWith("Arrow") && moveCross(page, event)) return event.preventDefault();
    if (name === "Space" && onStage) {
      event.preventDefault();
      if (!event.repeat) [held.space, held.dragged] = [true, false];
      return;
    }
    // buttons, sliders and lists keep the keys that they live by
    if (!onStage && ["Enter", "Space", "Tab", "Shift+Tab"].includes(name)) return;
    if (target instanceof HTMLInputElement && /^(Arrow|Page|Home|End)/.test(event.key)) return;
    const action = keys.get(name);
    if (!action) return;
    if (action.startsWith("candidate") && !page.candidates) return; // Tab is the browser's own
    event.preventDefault();
    if (action === "hide") return showMasks(false);
    if (event.repeat && ["finish", "next", "previous", "skip", "delete"].includes(action)) return;
    actions[action]();
  });
  window.addEventListener("pointerdown", () => document.body.classList.remove("by-keys"));
  window.addEventListener("keyup", (event) => {
    if (hideKeys.includes(written(event))) showMasks(true);
    if (event.key === " " && held.space) {
      held.space = false;
      if (!held.dragged && keys.has("Space")) actions[keys.get("Space") ?? "finish"]();
    }
  });
  window.addEventListener("blur", () => {
    held.space = false;
    showMasks(true);
  });
}

/** Moves the cross that stands for the pointer. @param {Page} page @param {KeyboardEvent} event @returns {boolean} */
function moveCross(page, event) {
  const { stage } = page;
  const { width, height } = stage.size;
  if (!width) return false;
  const step = Math.max(1, Math.round((event.shiftKey ? 10 : 1) * CROSS_STEP / stage.view.scale));
  const cross = stage.cross ?? { y: Math.floor(page.pointer.inside ? page.pointer.y : height / 2), x: Math.floor(page.pointer.inside ? page.pointer.x : width / 2) };
  const [dy, dx] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
  /** @type {(value: number, most: number) => number} */
  const within = (value, most) => Math.min(Math.max(value, 0), most);
  stage.cross = { y: within(cross.y + dy * step, height - 1), x: within(cross.x + dx * step, width - 1) };
  page.pointer = { y: stage.cross.y + 0.5, x: stage.cross.x + 0.5, inside: true };
  stage.changed();
  return true;
}

/** Photo, panel on the right, bar above, list on the left. */
function nextArea() {
  const areas = ["stage", "side", "top", "photos"].map((id) => byId(id));
  const now = areas.findIndex((area) => area.contains(document.activeElement));
  for (let step = 1; step <= areas.length; step++) {
    const area = areas[(now + step + areas.length) % areas.length];
    const target = area.id === "stage" ? area : /** @type {HTMLElement | null} */ (area.querySelector("button:enabled, input, select"));
    if (target && target.offsetParent !== null) return target.focus();
  }
}

begin().catch((error) => {
  const banner = byId("banner");
  banner.hidden = false;
  banner.textContent = error instanceof ApiError ? `${error.message} Reload the page (F5) when it is back.` : `The page broke (${error}); reload it (F5). Nothing is lost.`;
  console.error(error);
});
