// Talking to the server: json in, json out; every refusal is an `ApiError` with a sentence for people.

/** @typedef {import("./rle.js").Rle} Rle */
/** @typedef {{id: number, name: string, width: number | null, height: number | null, state: string, holder: string | null, holder_name: string | null}} PhotoRow */
/**
 * @typedef {object} ServerObject
 * @property {number} id
 * @property {string} key
 * @property {number} class
 * @property {string} state  open, done or deleted
 * @property {number} number  of its next event
 * @property {Rle | null} mask
 * @property {[number, number, boolean][]} clicks  y, x, positive
 * @property {number} undo  steps that can be taken back
 * @property {number} redo
 * @property {number | null} threshold
 * @property {number} candidates
 */
/** @typedef {PhotoRow & {locked: string | null, objects: ServerObject[]}} OpenedPhoto */
/** @typedef {{id: number, name: string}} ClassRow */
/**
 * @typedef {object} Start
 * @property {string} store
 * @property {string} title
 * @property {string} network
 * @property {number} threshold
 * @property {Record<string, string[]>} keys
 * @property {boolean} shared
 * @property {string[]} formats
 * @property {ClassRow[]} classes
 */

export class ApiError extends Error {
  /** @param {number} status 0: the server was not reached @param {string} sentence */
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }

  /** Whether the same may work later: the server is away, busy, or its disk is full. */
  get passing() {
    return this.status === 0 || this.status >= 502;
  }
}

/** A key that nobody else has. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Who works in this browser. */
export const person = {
  id: localStorage.getItem("clicklab-person") ?? newKey(),
  name: localStorage.getItem("clicklab-name") ?? "",
};
localStorage.setItem("clicklab-person", person.id);

/** @param {string} name */
export function setName(name) {
  person.name = name.trim();
  localStorage.setItem("clicklab-name", person.name);
}

/**
 * @template T
 * @param {string} address
 * @param {object} [body] is posted
 * @returns {Promise<T>}
 */
export async function ask(address, body) {
  const headers = { "x-clicklab-person": person.id, "x-clicklab-name": encodeURIComponent(person.name), "content-type": "application/json" };
  const options = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
  let answer;
  let content;
  try {
    answer = await fetch(address, options);
    content = await answer.json();
  } catch {
    throw new ApiError(answer && answer.status < 500 ? answer.status : 0, "The server does not answer.");
  }
  if (!answer.ok) throw new ApiError(answer.status, content.error ?? `The server answered ${answer.status}.`);
  return content;
}
