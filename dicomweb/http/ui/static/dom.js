// Elements made of data. Text only ever becomes text: nothing here, or anywhere in these pages, parses markup.

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set([
  "value",
  "checked",
  "disabled",
  "hidden",
  "indeterminate",
  "readOnly",
  "selected",
  "multiple",
]);

/** Make an element: attributes (`on`: listeners, `data`: dataset), then children (nodes, texts, lists of them). */
export function h(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) set(element, key, value);
  element.append(...nodes(children));
  return element;
}

/** Put children in the place of those an element has. */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

/** Make an icon of 24 x 24 from the commands of a path. */
export function icon(path, filled = false) {
  const svg = shape("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" });
  svg.append(shape("path", { d: path, ...(filled ? { class: "filled" } : {}) }));
  return svg;
}

/** Make an element of a drawing (SVG). */
export function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

export const ICONS = {
  close: "M6 6l12 12M18 6L6 18",
  back: "M15 5l-7 7 7 7",
  next: "M9 5l7 7-7 7",
  down: "M6 9l6 6 6-6",
  download: "M12 4v12M7 11l5 5 5-5M4 20h16",
  send: "M4 12l16-8-6 16-3-7z",
  open: "M14 4h6v6M20 4l-9 9M18 14v5a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1h5",
  play: "M8 5l11 7-11 7z",
  pause: "M7 5h4v14H7zM13 5h4v14h-4z",
  search: "M10.500 4a6.500 6.500 0 1 0 0 13 6.500 6.500 0 0 0 0-13M15.500 15.500L20 20",
  folder: "M3 7a2 2 0 0 1 2-2h4l2 2h8a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2z",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  check: "M5 12l5 5 9-10",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  retry: "M5 12a7 7 0 1 0 2-5M4 4v4h4",
  expand: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  images: "M4 5h16v14H4zM4 15l5-5 4 4 3-3 4 4",
  list: "M4 6h16M4 12h16M4 18h10",
  filter: "M4 6h16M7 12h10M10 18h4",
};

/** Let a function run at the end of a row of calls, `pause` milliseconds after the last, `most` after the first. */
export function debounced(pause, act, most = Infinity) {
  let timer = 0;
  let first = 0;
  return (...given) => {
    const now = performance.now();
    first ||= now;
    clearTimeout(timer);
    timer = setTimeout(
      () => {
        first = 0;
        act(...given);
      },
      Math.max(0, Math.min(pause, first + most - now)),
    );
  };
}

/** Do something now and again every so many milliseconds while the page is looked at, until `signal` aborts. */
export function repeatedly(milliseconds, act, signal) {
  let timer = 0;
  const again = async () => {
    clearTimeout(timer);
    if (signal.aborted) return;
    if (!document.hidden) await act();
    if (!signal.aborted) timer = setTimeout(again, milliseconds);
  };
  document.addEventListener("visibilitychange", () => document.hidden || again(), { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  return again();
}

function set(element, key, value) {
  if (value === undefined || value === null || (value === false && !PROPERTIES.has(key))) return;
  if (key === "on") for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
  else if (key === "data") Object.assign(element.dataset, value);
  else if (PROPERTIES.has(key)) element[key] = value;
  else element.setAttribute(key, value === true ? "" : value);
}

function nodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false && child !== "");
}
