// Masks in the page: COCO run lengths, down the columns of the photo, brought to the pixels of the window as they are needed.
// No mask is ever unpacked in the size of the photo, so that 100 megapixels cost no more than one.

/** @typedef {{size: [number, number], counts: string}} Rle */
/** @typedef {{left: number, top: number, right: number, bottom: number}} Box */
/** @typedef {{scale: number, x: number, y: number}} View  window pixel = photo pixel * scale + x (or y) */

/** A mask as the places where it begins and ends along the columns. */
export class Runs {
  /** @param {Rle} rle */
  constructor(rle) {
    this.height = rle.size[0];
    this.width = rle.size[1];
    /** Even entries begin a run of the object, odd ones end it. */
    this.edges = unpack(rle.counts, this.height * this.width);
    /** @type {Box | null} ends excluded; null: no pixel. */
    this.box = this.#findBox();
    this.area = 0;
    for (let i = 0; i + 1 < this.edges.length; i += 2) this.area += this.edges[i + 1] - this.edges[i];
  }

  /** @param {number} y @param {number} x @returns {boolean} whether the pixel belongs to the object */
  holds(y, x) {
    if (x < 0 || y < 0 || x >= this.width || y >= this.height) return false;
    return firstAfter(this.edges, x * this.height + y) % 2 === 1;
  }

  /** @returns {Box | null} */
  #findBox() {
    const { edges, height } = this;
    if (edges.length < 2) return null;
    let top = height;
    let bottom = 0;
    for (let i = 0; i + 1 < edges.length; i += 2) {
      const first = edges[i] % height;
      const last = (edges[i + 1] - 1) % height;
      const columns = Math.floor((edges[i + 1] - 1) / height) - Math.floor(edges[i] / height);
      top = Math.min(top, columns ? 0 : first);
      bottom = Math.max(bottom, columns ? height : last + 1);
    }
    return { left: Math.floor(edges[0] / height), right: Math.floor((edges[edges.length - 1] - 1) / height) + 1, top, bottom };
  }

  /**
   * The mask as the window shows it: 1 where the photo pixel under the middle of a window pixel belongs to it.
   * @param {View} view
   * @param {number} columns of the window
   * @param {number} rows of the window
   * @returns {Uint8Array} down the columns: the value of (row, column) stands at column * rows + row
   */
  raster(view, columns, rows) {
    const out = new Uint8Array(columns * rows);
    if (!this.box) return out;
    const { edges, height, width } = this;
    let previous = -1;
    for (let column = 0; column < columns; column++) {
      const x = Math.floor((column + 0.5 - view.x) / view.scale);
      if (x < 0 || x >= width) continue;
      if (x === previous) {
        out.copyWithin(column * rows, (column - 1) * rows, column * rows);
        continue;
      }
      previous = x;
      const start = x * height;
      let i = firstAfter(edges, start);
      if (i % 2 === 1) i -= 1; // the column begins inside a run
      for (; i + 1 < edges.length && edges[i] < start + height; i += 2) {
        const from = Math.max(edges[i] - start, 0);
        const to = Math.min(edges[i + 1] - start, height);
        const first = Math.max(Math.ceil(from * view.scale + view.y - 0.5), 0);
        const end = Math.min(Math.ceil(to * view.scale + view.y - 0.5), rows);
        if (end > first) out.fill(1, column * rows + first, column * rows + end);
      }
    }
    return out;
  }
}

/**
 * Number of entries at or before a place.
 * @param {Uint32Array} edges ascending
 * @param {number} place
 */
function firstAfter(edges, place) {
  let low = 0;
  let high = edges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (edges[middle] <= place) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * COCO's compressed text: five bits a character with a sixth that says that more follow; from the fourth number on each is
 * the difference to the one two before.
 * @param {string} text
 * @param {number} pixels of the photo
 * @returns {Uint32Array}
 */
function unpack(text, pixels) {
  /** @type {number[]} */
  const counts = [];
  for (let i = 0; i < text.length; ) {
    let value = 0;
    let shift = 0;
    let more = true;
    while (more) {
      const code = text.charCodeAt(i++) - 48;
      value += (code & 31) * 2 ** shift;
      more = (code & 32) !== 0;
      shift += 5;
      if (!more && code & 16) value -= 2 ** shift;
    }
    counts.push(counts.length > 2 ? value + counts[counts.length - 2] : value);
  }
  const edges = new Uint32Array(counts.length);
  let place = 0;
  counts.forEach((count, number) => {
    place += count;
    edges[number] = place;
  });
  // the last number ends the photo, not a run, unless the object reaches its last pixel
  const ends = edges.length % 2 === 1 && edges[edges.length - 1] === pixels;
  return joined(ends ? edges.subarray(0, -1) : edges);
}

/** Runs of no length between two others are joined. @param {Uint32Array} edges */
function joined(edges) {
  /** @type {number[]} */
  const kept = [];
  for (let i = 0; i + 1 < edges.length; i += 2) {
    if (edges[i] === edges[i + 1]) continue;
    if (kept.length && kept[kept.length - 1] === edges[i]) kept[kept.length - 1] = edges[i + 1];
    else kept.push(edges[i], edges[i + 1]);
  }
  return Uint32Array.from(kept);
}
