"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const PAGE = 50; // rows of the table at a time: a page of thousands would be slow

/** An element with attributes and children; text is never read as HTML. */
function make(name, attributes = {}, ...children) {
  const drawn = ["svg", "path", "circle", "text", "g", "image", "polyline", "line"].includes(name);
  const element = drawn ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/* ---- dialogues ---- */

/** Outline in two tones: a wide dark line below a narrow bright one. */
function outline(path, kind) {
  const group = make("g", { class: `of-${kind}` });
  for (const tone of ["under", "over"]) group.append(make("path", { d: path, class: `${tone} ${kind}` }));
  return group;
}

/** One run's picture of an object after `count` clicks. */
function drawView(picture, run, count) {
  const { width, height } = picture;
  const box = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  box.append(make("image", { href: picture.image, width, height }));
  if (picture.ignored) box.append(make("path", { d: picture.ignored, class: "ignored of-target" }));
  box.append(outline(picture.target, "target"));
  const clicks = run.clicks.slice(0, count);
  const mask = clicks.length ? clicks[clicks.length - 1][4] : null;
  if (mask) box.append(outline(mask, "mask"));
  const radius = Math.max(width, height) / 85;
  clicks.forEach(([x, y, positive], place) => {
    const newest = place === clicks.length - 1;
    const group = make("g", { class: newest ? "click" : "click old" });
    group.append(make("circle", { cx: x, cy: y, r: newest ? radius * 1.25 : radius * 0.9, fill: positive ? "#19c319" : "#ff2828" }));
    const left = x > width * 0.9;
    const label = make("text", { x: left ? x - radius * 1.5 : x + radius * 1.5, y: Math.max(12, y - radius), "text-anchor": left ? "end" : "start" }, String(place + 1));
    if (newest || clicks.length <= 6) group.append(label);
    box.append(group);
  });
  const iou = clicks.length ? `IoU ${clicks[clicks.length - 1][3].toFixed(3)}` : "before the first click";
  const made = count > run.clicks.length ? `stopped after ${run.clicks.length} clicks` : `click ${count}`;
  const words = `${picture.runs.length > 1 ? run.label + ": " : ""}${count ? made + ", " : ""}${iou}`;
  box.setAttribute("aria-label", `${picture.name}, ${words}`);
  return make("div", { class: "view" }, box, make("p", {}, words));
}

function drawPicture(picture) {
  const most = Math.max(...picture.runs.map((run) => run.clicks.length));
  const why = picture.why === "worst" ? "" : " · here the runs part";
  const title = make("h3", {}, `${picture.dataset} · ${picture.name} `, make("small", {}, `object ${picture.object}, #${picture.index}${why}`));
  const views = make("div", { class: "views" });
  const slider = make("input", { type: "range", min: 0, max: most, value: most, "aria-label": `clicks shown of ${picture.name}` });
  const shown = make("output", {});
  const show = () => {
    const count = Number(slider.value);
    views.replaceChildren(...picture.runs.map((run) => drawView(picture, run, count)));
    shown.textContent = `${count} of ${most}`;
  };
  const step = (by) => make("button", { "aria-label": by < 0 ? "one click back" : "one click on" }, by < 0 ? "‹" : "›");
  const [back, on] = [step(-1), step(1)];
  back.addEventListener("click", () => { slider.stepDown(); show(); });
  on.addEventListener("click", () => { slider.stepUp(); show(); });
  slider.addEventListener("input", show);
  show();
  const id = `picture-${picture.dataset}-${picture.index}`;
  return make("figure", { id }, title, views, make("div", { class: "step" }, back, slider, on, shown));
}

const pictures = document.getElementById("pictures");
if (data.pictures.some((picture) => picture.runs.length > 1)) pictures.classList.add("pairs");
pictures.append(...data.pictures.map(drawPicture));
document.getElementById("keys").hidden = data.pictures.length === 0;
for (const kind of ["target", "mask"]) {
  document.getElementById(`show-${kind}`).addEventListener("change", (event) => {
    document.body.classList.toggle(`no-${kind}`, !event.target.checked);
  });
}

/* ---- table of all objects ---- */

const { datasets, thresholds, main, limit, rows } = data.table;
const hasOther = rows.some((row) => row[5] !== null);
const clicksText = (clicks) => (clicks === null || clicks > limit ? "never" : String(clicks));
const clicksOrder = (clicks) => (clicks === null ? limit + 1 : clicks);
const last = (row) => row[4][row[4].length - 1];

/** Heading, what a row is sorted by, what its cell shows. */
const columns = [
  ["dataset", (row) => datasets[row[0]], (row) => datasets[row[0]]],
  ["image", (row) => row[1], (row) => row[1]],
  ["object", (row) => row[2], (row) => String(row[2])],
  ...thresholds.map((name, place) => [name, (row) => clicksOrder(row[3][place]), (row) => clicksText(row[3][place])]),
  ...(hasOther ? [
    [`${thresholds[main]}, ${data.against}`, (row) => row[5] ?? limit + 2, (row) => (row[5] === null ? "–" : clicksText(row[5]))],
    ["difference", (row) => (row[5] === null ? -99 : clicksOrder(row[3][main]) - row[5]), (row) => (row[5] === null ? "–" : signed(clicksOrder(row[3][main]) - row[5]))],
  ] : []),
  ["IoU@1", (row) => row[4][0], (row) => (row[4][0] / 1000).toFixed(3)],
  ["last IoU", last, (row) => (last(row) / 1000).toFixed(3)],
  ["clicks", (row) => row[4].length, (row) => String(row[4].length)],
  ["IoU by click", null, (row) => spark(row[4])],
];

const signed = (value) => (value > 0 ? `+${value}` : String(value));

/** A small curve of the IoU after each click. */
function spark(ious) {
  const place = (iou, click) => `${(110 * click) / Math.max(1, limit - 1)},${(21 - iou / 50).toFixed(1)}`;
  const box = make("svg", { class: "spark", viewBox: "0 0 110 22", "aria-hidden": "true" }, make("line", { x1: 0, x2: 110, y1: 21, y2: 21 }));
  if (ious.length === 1) box.append(make("circle", { cx: 1.5, cy: 21 - ious[0] / 50, r: 1.5, fill: "#0072b2" }));
  else box.append(make("polyline", { points: ious.map(place).join(" ") }));
  return box;
}

const state = { sorted: 3 + main, down: true, page: 0, found: rows };
const head = document.querySelector("#table thead");
const body = document.querySelector("#table tbody");
const drawn = new Map(data.pictures.map((picture) => [`${picture.dataset}/${picture.name}/${picture.object}`, `picture-${picture.dataset}-${picture.index}`]));

function drawHead() {
  const cells = columns.map(([name, key], place) => {
    if (!key) return make("th", {}, name);
    const button = make("button", {}, name);
    button.addEventListener("click", () => {
      Object.assign(state, { down: state.sorted === place ? !state.down : place > 2, sorted: place, page: 0 });
      find();
    });
    const sort = state.sorted === place ? (state.down ? "descending" : "ascending") : "none";
    return make("th", { "aria-sort": sort, scope: "col" }, button);
  });
  head.replaceChildren(make("tr", {}, ...cells));
}

function drawRows() {
  const pages = Math.max(1, Math.ceil(state.found.length / PAGE));
  const shown = state.found.slice(state.page * PAGE, (state.page + 1) * PAGE);
  body.replaceChildren(...shown.map((row) => {
    const id = drawn.get(`${datasets[row[0]]}/${row[1]}/${row[2]}`);
    const cells = columns.map(([name, , show]) => {
      const text = show(row);
      const kind = name === "image" ? "name" : text === "never" ? "never" : "";
      const cell = make("td", kind ? { class: kind } : {});
      if (name === "image") cell.title = row[1];
      cell.append(name === "image" && id ? make("a", { href: `#${id}` }, text) : text);
      return cell;
    });
    return make("tr", {}, ...cells);
  }));
  document.getElementById("page").textContent = `page ${state.page + 1} of ${pages}`;
  document.getElementById("back").disabled = state.page === 0;
  document.getElementById("next").disabled = state.page >= pages - 1;
}

/** Filters and sorts anew; of equal rows the one with the lower IoU comes first. */
function find() {
  const wanted = document.getElementById("dataset").value;
  const part = document.getElementById("search").value.toLowerCase();
  const key = columns[state.sorted][1];
  const sign = state.down ? -1 : 1;
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
  state.found = rows
    .filter((row) => (wanted === "" || datasets[row[0]] === wanted) && row[1].toLowerCase().includes(part))
    .sort((a, b) => sign * compare(key(a), key(b)) || last(a) - last(b));
  document.getElementById("count").textContent = `${state.found.length} of ${rows.length} objects`;
  drawHead();
  drawRows();
}

const select = document.getElementById("dataset");
select.append(make("option", { value: "" }, "all"), ...datasets.map((name) => make("option", { value: name }, name)));
const again = () => { state.page = 0; find(); };
select.addEventListener("change", again);
document.getElementById("search").addEventListener("input", again);
document.getElementById("back").addEventListener("click", () => { state.page -= 1; drawRows(); });
document.getElementById("next").addEventListener("click", () => { state.page += 1; drawRows(); });
find();
