// From key presses to actions, by a table that people may change (keys.json in the output folder).

/** What each action is called in the list of keys, in its order. @type {Record<string, string>} */
export const SENTENCES = {
  finish: "Finish the object; then: photo done, next one",
  drop: "Drop the open clicks",
  undo: "Undo",
  redo: "Redo",
  next: "Next photo",
  previous: "Previous photo",
  skip: "Skip the photo, or take it back",
  candidate: "Next candidate mask",
  candidate_back: "Candidate before",
  reopen: "Reopen the object under the pointer",
  delete: "Delete the object under the pointer",
  click: "Click tool",
  brush: "Brush",
  eraser: "Eraser",
  smaller: "Smaller brush",
  larger: "Larger brush",
  fill: "Fill holes",
  specks: "Drop specks",
  hide: "Hold: the photo without masks",
  visible: "Show or hide the object under the pointer",
  fit: "Fit the photo",
  zoom_in: "Zoom in",
  zoom_out: "Zoom out",
  point_add: "Click at the cross: add",
  point_remove: "Click at the cross: take away",
  panels: "Fold the panels",
  area: "To the next part of the page",
  theme: "Light or dark",
  help: "This list",
};

/** What stands for itself and cannot be changed. @type {[string[], string][]} */
export const FIXED = [
  [["Left button", "tap"], "Add what is clicked on"],
  [["Right button", "Shift+left"], "Take away what is clicked on"],
  [["1 … 9"], "Class of the object"],
  [["Shift+1 … 9"], "Candidate"],
  [["Wheel", "pinch"], "Zoom at the pointer"],
  [["Middle button", "Space+drag"], "Move the photo"],
  [["Arrow keys"], "Move the cross (Shift: in large steps)"],
];

/** How a press is written: Ctrl+Shift+z, Tab, Space, [. @param {KeyboardEvent} event */
export function written(event) {
  let key = event.key === " " ? "Space" : event.key;
  const named = key.length > 1;
  const letter = key.length === 1 && key.toLowerCase() !== key.toUpperCase();
  if (letter) key = key.toLowerCase();
  const control = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  const alt = event.altKey && !event.getModifierState("AltGraph") ? "Alt+" : "";
  const shift = event.shiftKey && (named || letter) ? "Shift+" : "";
  return `${control}${alt}${shift}${key}`;
}

/** Digit of the key, whatever Shift makes of it; null for another key. @param {KeyboardEvent} event */
export function digit(event) {
  const found = /^(?:Digit|Numpad)([1-9])$/.exec(event.code);
  return found && !event.ctrlKey && !event.altKey && !event.metaKey ? Number(found[1]) : null;
}

/** Key -> action. @param {Record<string, string[]>} table */
export function byKey(table) {
  /** @type {Map<string, string>} */
  const found = new Map();
  for (const [action, keys] of Object.entries(table)) for (const key of keys) found.set(key, action);
  return found;
}

/** Whether keys belong to a field that is being filled in. @param {EventTarget | null} target */
export function inField(target) {
  if (target instanceof HTMLInputElement) return !["range", "checkbox", "button"].includes(target.type);
  return target instanceof HTMLSelectElement || target instanceof HTMLTextAreaElement;
}

/** Fills the list of keys. @param {HTMLElement} list @param {Record<string, string[]>} table */
export function listKeys(list, table) {
  list.replaceChildren();
  /** @type {(keys: string[], sentence: string) => void} */
  const add = (keys, sentence) => {
    const [line, term, meaning] = [document.createElement("div"), document.createElement("dt"), document.createElement("dd")];
    for (const key of keys) {
      const shown = document.createElement("kbd");
      shown.textContent = key.length === 1 ? key.toUpperCase() : key.replace(/\+([a-z])$/, (_, letter) => `+${letter.toUpperCase()}`);
      term.append(shown);
    }
    meaning.textContent = sentence;
    line.append(term, meaning);
    list.append(line);
  };
  for (const [keys, sentence] of FIXED) add(keys, sentence);
  for (const [action, sentence] of Object.entries(SENTENCES)) add(table[action] ?? [], sentence);
}
