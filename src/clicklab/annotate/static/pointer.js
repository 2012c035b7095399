// Mouse, pen and fingers over the photo.

/** @typedef {import("./page.js").Page} Page */

const STILL_PIXELS = 6; // a finger that moves less than this taps
const LONG_PRESS_MILLISECONDS = 550;

/** @param {Page} page @param {{space: boolean, dragged: boolean}} held what the keyboard holds @param {() => boolean} adding what a tap does */
export function listenToPointer(page, held, adding) {
  const { stage } = page;
  const { element } = stage;
  /** @type {Map<number, {x: number, y: number}>} fingers on the photo */
  const fingers = new Map();
  /** @type {{x: number, y: number, time: number, moved: boolean} | null} */
  let tap = null;
  /** @type {{points: [number, number][], positive: boolean} | null} */
  let stroke = null;
  let panning = false;

  /** @param {MouseEvent} event */
  const place = (event) => {
    const box = element.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };

  /** @param {MouseEvent} event */
  const point = (event) => {
    const at = place(event);
    const photo = stage.toPhoto(at.x, at.y);
    page.pointer = { ...photo, inside: true };
    return photo;
  };

  const showBrush = () => {
    const { y, x, inside } = page.pointer;
    const painting = page.tool !== "click";
    stage.brush = painting && inside ? { y: y - 0.5, x: x - 0.5, radius: page.radius } : null;
    element.classList.toggle("painting", painting);
  };

  /** @param {PointerEvent} event */
  const onControl = (event) => event.target instanceof Element && event.target.closest("button, #candidates") !== null;

  element.addEventListener("pointerdown", (event) => {
    if (onControl(event)) return;
    element.focus({ preventScroll: true });
    element.setPointerCapture(event.pointerId);
    const photo = point(event);
    stage.cross = null;
    if (event.pointerType === "touch") {
      fingers.set(event.pointerId, place(event));
      tap = fingers.size === 1 ? { ...place(event), time: event.timeStamp, moved: false } : null;
      if (fingers.size > 1) stroke = stage.stroke = null;
      else if (page.tool !== "click") stroke = { points: [[photo.y - 0.5, photo.x - 0.5]], positive: page.tool === "brush" };
      return;
    }
    event.preventDefault();
    if (event.button === 1 || (event.button === 0 && held.space)) {
      panning = true;
      held.dragged = held.space;
      element.classList.add("panning");
      return;
    }
    const second = event.button === 2 || event.shiftKey;
    if (event.button !== 0 && event.button !== 2) return;
    if (page.tool === "click") page.click(photo.y, photo.x, !second);
    else stroke = { points: [[photo.y - 0.5, photo.x - 0.5]], positive: (page.tool === "brush") !== second };
    if (stroke) stage.stroke = { ...stroke, radius: page.radius };
    stage.changed();
  });

  element.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    const now = place(event);
    const photo = point(event);
    if (before) {
      moveFinger(event.pointerId, before, now);
      if (tap && Math.hypot(now.x - tap.x, now.y - tap.y) > STILL_PIXELS) tap.moved = true;
    } else if (panning) stage.pan(event.movementX, event.movementY);
    if (stroke && fingers.size < 2) {
      for (const part of event.getCoalescedEvents?.() ?? [event]) {
        const at = place(part);
        const { y, x } = stage.toPhoto(at.x, at.y);
        stroke.points.push([y - 0.5, x - 0.5]);
      }
      stage.stroke = { ...stroke, radius: page.radius };
    }
    showBrush();
    if (stroke || stage.brush) stage.changed();
  });

  /** One finger moves the photo (unless it paints), two zoom it. @param {number} id @param {{x: number, y: number}} before @param {{x: number, y: number}} now */
  const moveFinger = (id, before, now) => {
    const other = [...fingers].find(([one]) => one !== id)?.[1];
    if (other) {
      const [was, is] = [Math.hypot(before.x - other.x, before.y - other.y), Math.hypot(now.x - other.x, now.y - other.y)];
      stage.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
      if (was > 0) stage.zoom(is / was, (now.x + other.x) / 2, (now.y + other.y) / 2);
    } else if (tap?.moved && !stroke) stage.pan(now.x - before.x, now.y - before.y);
    fingers.set(id, now);
  };

  /** @param {PointerEvent} event */
  const end = (event) => {
    const finger = fingers.delete(event.pointerId);
    panning = false;
    element.classList.remove("panning");
    const photo = point(event);
    if (stroke) {
      page.stroke(thinned(stroke.points), stroke.positive);
      stroke = stage.stroke = null;
      stage.changed();
    } else if (finger && tap && !tap.moved && fingers.size === 0 && event.type === "pointerup") {
      const long = event.timeStamp - tap.time > LONG_PRESS_MILLISECONDS;
      page.click(photo.y, photo.x, adding() !== long);
    }
    if (fingers.size === 0) tap = null;
  };
  element.addEventListener("pointerup", end);
  element.addEventListener("pointercancel", end);

  element.addEventListener("pointerleave", () => {
    page.pointer.inside = false;
    showBrush();
    stage.changed();
  });
  element.addEventListener("contextmenu", (event) => event.preventDefault());
  element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      const at = place(event);
      stage.zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), at.x, at.y);
      point(event);
      showBrush();
    },
    { passive: false },
  );
  return { showBrush };
}

/** A stroke with no more points than it needs: half a pixel apart, hundredths of a pixel. @param {[number, number][]} points @returns {[number, number][]} */
function thinned(points) {
  /** @type {[number, number][]} */
  const kept = [];
  for (const [y, x] of points) {
    const last = kept.at(-1);
    if (!last || Math.hypot(y - last[0], x - last[1]) >= 0.5) kept.push([Math.round(y * 100) / 100, Math.round(x * 100) / 100]);
  }
  return kept.slice(0, 20000);
}
