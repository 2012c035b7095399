// Colours and outlines of masks in window pixels.

/** @typedef {import("./rle.js").Runs} Runs */
/** @typedef {import("./rle.js").View} View */

/** Okabe and Ito's palette and one gray: people who see colours differently tell them apart. */
export const COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999"];
/** Of the object that is being clicked. */
export const OPEN_COLOUR = "#ff5cf4";

const FILL = 1;
const INNER = 2; // the white half of the outline: one pixel, and half a one behind it
const INNER_SOFT = 3;
const OUTER = 4; // the dark half
const OUTER_SOFT = 5;

/**
 * @typedef {object} Layer
 * @property {Uint8Array} marks  down the columns of its box, one of the above each
 * @property {number} left
 * @property {number} top
 * @property {number} columns
 * @property {number} rows
 */

/**
 * What a mask covers in the window, and its outline.
 * @param {Runs} runs
 * @param {View} view
 * @param {number} columns of the window
 * @param {number} rows of the window
 * @returns {Layer | null} null where nothing of it can be seen
 */
export function outlined(runs, view, columns, rows) {
  if (!runs.box) return null;
  const margin = 3;
  const left = Math.max(Math.floor(runs.box.left * view.scale + view.x) - margin, 0);
  const top = Math.max(Math.floor(runs.box.top * view.scale + view.y) - margin, 0);
  const right = Math.min(Math.ceil(runs.box.right * view.scale + view.x) + margin, columns);
  const bottom = Math.min(Math.ceil(runs.box.bottom * view.scale + view.y) + margin, rows);
  if (right <= left || bottom <= top) return null;
  const wide = right - left;
  const high = bottom - top;
  const marks = runs.raster({ scale: view.scale, x: view.x - left, y: view.y - top }, wide, high);
  ring(marks, wide, high, FILL, 0, INNER);
  ring(marks, wide, high, FILL, INNER, INNER_SOFT);
  ring(marks, wide, high, 0, INNER, OUTER);
  ring(marks, wide, high, 0, OUTER, OUTER_SOFT);
  return { marks, left, top, columns: wide, rows: high };
}

/** Pixels of one mark that touch another become a third. @param {Uint8Array} marks @param {number} wide @param {number} high
 * @param {number} from @param {number} beside @param {number} to */
function ring(marks, wide, high, from, beside, to) {
  /** @type {number[]} */
  const found = [];
  for (let column = 0; column < wide; column++) {
    const start = column * high;
    for (let row = 0; row < high; row++) {
      const i = start + row;
      if (marks[i] !== from) continue;
      if (
        (row > 0 && marks[i - 1] === beside) ||
        (row + 1 < high && marks[i + 1] === beside) ||
        (column > 0 && marks[i - high] === beside) ||
        (column + 1 < wide && marks[i + high] === beside)
      )
        found.push(i);
    }
  }
  for (const i of found) marks[i] = to;
}

/**
 * Adds a layer to a picture.
 * @param {ImageData} picture
 * @param {Layer} layer
 * @param {string} colour  #rrggbb
 * @param {number} opacity  of the fill
 * @param {boolean} onTop  nothing below it is seen
 */
export function compose(picture, layer, colour, opacity, onTop) {
  const pixels = new Uint32Array(picture.data.buffer);
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  /** @type {(alpha: number, r: number, g: number, b: number) => number} */
  const packed = (alpha, r, g, b) => ((Math.round(alpha * 255) << 24) | (b << 16) | (g << 8) | r) >>> 0;
  const values = [0, packed(opacity, red, green, blue), packed(1, 255, 255, 255), packed(0.5, 255, 255, 255), packed(0.95, 10, 14, 18), packed(0.45, 10, 14, 18)];
  for (let column = 0; column < layer.columns; column++) {
    const from = column * layer.rows;
    let to = layer.top * picture.width + layer.left + column;
    for (let row = 0; row < layer.rows; row++, to += picture.width) {
      const mark = layer.marks[from + row];
      if (mark === 0) continue;
      // the fill of one finished object does not wipe out the outline of another
      if (mark === FILL && !onTop && pixels[to] >>> 24 > 230) continue;
      pixels[to] = values[mark];
    }
  }
}

/**
 * A sign at a click: a plus in a ring, or a minus in a square, dark on light with a light rim, so that it is seen on any ground.
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 * @param {number} y
 * @param {boolean} positive
 * @param {boolean} waiting  its answer is not here yet
 */
export function sign(context, x, y, positive, waiting) {
  const reach = 7;
  context.save();
  context.translate(x, y);
  context.globalAlpha = waiting ? 0.75 : 1;
  context.beginPath();
  if (positive) context.arc(0, 0, reach, 0, 2 * Math.PI);
  else context.rect(-reach + 0.5, -reach + 0.5, 2 * reach - 1, 2 * reach - 1);
  context.lineWidth = 4;
  context.strokeStyle = "#0a0e12";
  context.stroke();
  context.lineWidth = 2;
  context.strokeStyle = "#ffffff";
  context.fillStyle = positive ? "#0072b2" : "#d55e00";
  context.fill();
  context.stroke();
  context.beginPath();
  context.moveTo(-3.5, 0);
  context.lineTo(3.5, 0);
  if (positive) {
    context.moveTo(0, -3.5);
    context.lineTo(0, 3.5);
  }
  context.stroke();
  context.restore();
}
