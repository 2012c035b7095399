// Drawing: the photo, the masks over it, the clicks over them. Knows nothing of the server or of what a click means.

import { COLOURS, OPEN_COLOUR, compose, outlined, sign } from "./paint.js";

/** @typedef {import("./rle.js").Runs} Runs */
/** @typedef {import("./rle.js").View} View */
/** @typedef {import("./rle.js").Box} Box */
/**
 * @typedef {object} Shape  a mask to draw
 * @property {Runs} runs
 * @property {number} colour  number in `COLOURS`
 * @property {boolean} open
 */
/** @typedef {{y: number, x: number, positive: boolean, waiting: boolean}} Mark */
/** @typedef {{points: [number, number][], radius: number, positive: boolean}} Stroke */

const BASE_SIDE = 2048; // of the picture of the whole photo; what is zoomed further is fetched in part
const LEAST_SCALE_SHARE = 0.5; // of the fitted size
const MOST_SCALE = 40;

export class Stage {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    this.photoLayer = layer("photo-layer");
    this.maskLayer = layer("mask-layer");
    this.clickLayer = layer("click-layer");
    /** @type {View} */
    this.view = { scale: 1, x: 0, y: 0 };
    this.size = { width: 0, height: 0 };
    this.fitted = true;
    this.opacity = 0.35;
    this.masksShown = true;
    /** @type {Shape[]} */
    this.shapes = [];
    /** @type {Mark[]} */
    this.marks = [];
    /** @type {Stroke | null} */
    this.stroke = null;
    /** @type {{y: number, x: number, radius: number} | null} brush under the pointer, in photo pixels */
    this.brush = null;
    /** @type {{y: number, x: number} | null} */
    this.cross = null;
    /** @type {(scale: number) => void} */
    this.onZoom = () => {};
    this.photoId = 0;
    /** @type {HTMLImageElement | null} */
    this.base = null;
    /** @type {{image: HTMLImageElement, box: Box} | null} */
    this.detail = null;
    this.detailTimer = 0;
    this.frame = 0;
    /** @type {View | null} the view that the mask layer was painted for */
    this.painted = null;
    this.paintTimer = 0;
    /** @type {WeakMap<Runs, {key: string, layer: import("./paint.js").Layer | null}>} */
    this.layers = new WeakMap();
    new ResizeObserver(() => this.resize()).observe(element);
    this.resize();
  }

  /** Window pixels per CSS pixel. */
  get ratio() {
    return window.devicePixelRatio || 1;
  }

  resize() {
    const { clientWidth, clientHeight } = this.element;
    for (const { canvas } of [this.photoLayer, this.maskLayer, this.clickLayer]) {
      canvas.width = Math.max(1, Math.round(clientWidth * this.ratio));
      canvas.height = Math.max(1, Math.round(clientHeight * this.ratio));
    }
    if (this.fitted) this.fit();
    else this.changed();
  }

  /**
   * Another photo.
   * @param {number} id
   * @param {number} width
   * @param {number} height
   * @returns {Promise<void>} when it can be seen
   */
  async show(id, width, height) {
    this.photoId = id;
    this.size = { width, height };
    this.base = null;
    this.detail = null;
    this.cross = null;
    this.fit();
    const image = new Image();
    image.src = pictureAddress(id, width, height);
    await image.decode();
    if (this.photoId !== id) return;
    this.base = image;
    this.changed();
  }

  /** No photo. */
  clear() {
    this.photoId = 0;
    this.size = { width: 0, height: 0 };
    this.base = null;
    this.detail = null;
    this.changed();
  }

  /** All of the photo, as large as the window allows. */
  fit() {
    const { width, height } = this.size;
    const { clientWidth, clientHeight } = this.element;
    if (!width || !clientWidth) return;
    const scale = Math.min(clientWidth / width, clientHeight / height);
    this.view = { scale, x: (clientWidth - width * scale) / 2, y: (clientHeight - height * scale) / 2 };
    this.fitted = true;
    this.changed();
  }

  /** @param {number} factor @param {number} x of the pointer in the element @param {number} y */
  zoom(factor, x, y) {
    const { width, height } = this.size;
    const fitted = Math.min(this.element.clientWidth / width, this.element.clientHeight / height);
    const scale = Math.min(Math.max(this.view.scale * factor, fitted * LEAST_SCALE_SHARE), Math.max(MOST_SCALE, fitted));
    const share = scale / this.view.scale;
    this.view = { scale, x: x - (x - this.view.x) * share, y: y - (y - this.view.y) * share };
    this.fitted = false;
    this.#keepInSight();
    this.changed();
  }

  /** @param {number} dx @param {number} dy */
  pan(dx, dy) {
    this.view = { ...this.view, x: this.view.x + dx, y: this.view.y + dy };
    this.fitted = false;
    this.#keepInSight();
    this.changed();
  }

  #keepInSight() {
    const margin = 60;
    const { clientWidth, clientHeight } = this.element;
    const { scale } = this.view;
    this.view.x = Math.min(Math.max(this.view.x, margin - this.size.width * scale), clientWidth - margin);
    this.view.y = Math.min(Math.max(this.view.y, margin - this.size.height * scale), clientHeight - margin);
  }

  /** Photo pixel under a place of the element; may lie outside. @param {number} x @param {number} y */
  toPhoto(x, y) {
    return { y: (y - this.view.y) / this.view.scale, x: (x - this.view.x) / this.view.scale };
  }

  /** Something is to be drawn again. */
  changed() {
    this.onZoom(this.view.scale);
    if (!this.frame) this.frame = requestAnimationFrame(() => this.#draw());
  }

  /** Masks differ, not only the view. */
  masksChanged() {
    this.painted = null;
    this.changed();
  }

  #draw() {
    this.frame = 0;
    this.#drawPhoto();
    this.#drawMasks();
    this.#drawClicks();
    this.#wantDetail();
  }

  /** The view in window pixels. @returns {View} */
  #windowView() {
    const { ratio } = this;
    return { scale: this.view.scale * ratio, x: this.view.x * ratio, y: this.view.y * ratio };
  }

  #drawPhoto() {
    const { canvas, context } = this.photoLayer;
    const view = this.#windowView();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.base) return;
    context.setTransform(view.scale, 0, 0, view.scale, view.x, view.y);
    context.imageSmoothingEnabled = view.scale < 3;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.base, 0, 0, this.size.width, this.size.height);
    if (this.detail) {
      const { image, box } = this.detail;
      context.drawImage(image, box.left, box.top, box.right - box.left, box.bottom - box.top);
    }
  }

  #drawMasks() {
    const { canvas, context } = this.maskLayer;
    canvas.style.visibility = this.masksShown ? "visible" : "hidden";
    const view = this.#windowView();
    const last = this.painted;
    if (last && last.scale === view.scale && last.x === view.x && last.y === view.y) {
      canvas.style.transform = "none";
      return;
    }
    if (last) {
      // while the view moves the painted layer moves with it; it is painted anew when the view rests
      const share = view.scale / last.scale;
      const { ratio } = this;
      canvas.style.transformOrigin = "0 0";
      canvas.style.transform = `translate(${(view.x - last.x * share) / ratio}px, ${(view.y - last.y * share) / ratio}px) scale(${share})`;
      clearTimeout(this.paintTimer);
      this.paintTimer = window.setTimeout(() => this.masksChanged(), 60);
      return;
    }
    canvas.style.transform = "none";
    const picture = context.createImageData(canvas.width, canvas.height);
    const key = `${view.scale} ${view.x} ${view.y} ${canvas.width} ${canvas.height}`;
    for (const shape of this.shapes) {
      const layer = this.#layer(shape.runs, view, key);
      if (layer) compose(picture, layer, shape.open ? OPEN_COLOUR : COLOURS[shape.colour % COLOURS.length], this.opacity, shape.open);
    }
    context.putImageData(picture, 0, 0);
    this.painted = view;
  }

  /** @param {Runs} runs @param {View} view @param {string} key */
  #layer(runs, view, key) {
    const known = this.layers.get(runs);
    if (known && known.key === key) return known.layer;
    const { canvas } = this.maskLayer;
    const layer = outlined(runs, view, canvas.width, canvas.height);
    this.layers.set(runs, { key, layer });
    return layer;
  }

  #drawClicks() {
    const { canvas, context } = this.clickLayer;
    const { ratio, view } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    /** @type {(place: {y: number, x: number}) => [number, number]} */
    const at = (place) => [(place.x + 0.5) * view.scale + view.x, (place.y + 0.5) * view.scale + view.y];
    if (this.stroke) this.#drawStroke(context, this.stroke, at);
    if (this.masksShown) for (const mark of this.marks) sign(context, ...at(mark), mark.positive, mark.waiting);
    if (this.cross) crossHair(context, ...at(this.cross));
    if (this.brush) ringAt(context, ...at(this.brush), Math.max(this.brush.radius * view.scale, 1.5));
  }

  /** @param {CanvasRenderingContext2D} context @param {Stroke} stroke @param {(place: {y: number, x: number}) => [number, number]} at */
  #drawStroke(context, stroke, at) {
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = Math.max(2 * stroke.radius * this.view.scale, 1);
    context.strokeStyle = stroke.positive ? "rgb(255 92 244 / .55)" : "rgb(20 20 20 / .6)";
    context.beginPath();
    stroke.points.forEach(([y, x], number) => {
      const place = at({ y, x });
      if (number) context.lineTo(...place);
      else context.moveTo(place[0] - 0.01, place[1]);
      if (!number) context.lineTo(...place);
    });
    context.stroke();
  }

  /** Fetches the part in sight where the picture of the whole photo is too coarse. */
  #wantDetail() {
    clearTimeout(this.detailTimer);
    if (!this.base) return;
    const coarse = this.base.naturalWidth / this.size.width;
    const wanted = Math.min(this.view.scale * this.ratio, 1);
    if (wanted < coarse * 1.15 || coarse >= 1) return;
    this.detailTimer = window.setTimeout(() => void this.#fetchDetail(wanted), 120);
  }

  /** @param {number} wanted window pixels per photo pixel */
  async #fetchDetail(wanted) {
    const { width, height } = this.size;
    const id = this.photoId;
    const step = 64;
    const from = this.toPhoto(0, 0);
    const to = this.toPhoto(this.element.clientWidth, this.element.clientHeight);
    const box = {
      left: Math.max(Math.floor(from.x / step) * step, 0),
      top: Math.max(Math.floor(from.y / step) * step, 0),
      right: Math.min(Math.ceil(to.x / step) * step, width),
      bottom: Math.min(Math.ceil(to.y / step) * step, height),
    };
    if (box.right <= box.left || box.bottom <= box.top) return;
    const known = this.detail;
    const wide = Math.min(Math.ceil((box.right - box.left) * wanted), 4096);
    if (known && same(known.box, box) && known.image.naturalWidth >= wide) return;
    const image = new Image();
    image.src = `/photo/${id}?box=${box.left},${box.top},${box.right},${box.bottom}&w=${wide}`;
    try {
      await image.decode();
    } catch {
      return; // the coarse picture stays
    }
    if (this.photoId !== id) return;
    this.detail = { image, box };
    this.changed();
  }
}

/** @param {string} id */
function layer(id) {
  const canvas = /** @type {HTMLCanvasElement} */ (document.getElementById(id));
  return { canvas, context: /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")) };
}

/** @param {Box} a @param {Box} b */
function same(a, b) {
  return a.left === b.left && a.top === b.top && a.right === b.right && a.bottom === b.bottom;
}

/** Address of the picture of a whole photo. @param {number} id @param {number} width @param {number} height */
export function pictureAddress(id, width, height) {
  const share = Math.min(1, BASE_SIDE / Math.max(width, height));
  return `/photo/${id}?w=${Math.max(1, Math.round(width * share))}`;
}

/** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y */
function crossHair(context, x, y) {
  for (const [width, colour] of /** @type {[number, string][]} */ ([[4, "#0a0e12"], [1.5, "#ffffff"]])) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 4 * dx, y + 4 * dy);
      context.lineTo(x + 15 * dx, y + 15 * dy);
    }
    context.stroke();
  }
}

/** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} radius */
function ringAt(context, x, y, radius) {
  for (const [width, colour] of /** @type {[number, string][]} */ ([[3.5, "#0a0e12"], [1.5, "#ffffff"]])) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.stroke();
  }
}

/**
 * A small picture of a mask over its photo, for a choice among candidates.
 * @param {HTMLCanvasElement} canvas
 * @param {HTMLImageElement | null} base
 * @param {Runs} runs
 * @param {Box} box  of the photo that is shown
 */
export function thumbnail(canvas, base, runs, box) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const scale = Math.min(canvas.width / (box.right - box.left), canvas.height / (box.bottom - box.top));
  const view = {
    scale,
    x: (canvas.width - (box.left + box.right) * scale) / 2,
    y: (canvas.height - (box.top + box.bottom) * scale) / 2,
  };
  if (base) {
    context.setTransform(scale, 0, 0, scale, view.x, view.y);
    context.drawImage(base, 0, 0, runs.width, runs.height);
    context.setTransform(1, 0, 0, 1, 0, 0);
  }
  const layer = outlined(runs, view, canvas.width, canvas.height);
  if (!layer) return;
  const over = document.createElement("canvas");
  [over.width, over.height] = [canvas.width, canvas.height];
  const overContext = /** @type {CanvasRenderingContext2D} */ (over.getContext("2d"));
  const picture = overContext.createImageData(over.width, over.height);
  compose(picture, layer, OPEN_COLOUR, 0.4, true);
  overContext.putImageData(picture, 0, 0);
  context.drawImage(over, 0, 0);
}
