// Tables that are a stack of cards on a phone. Roles are spelt out: browsers forget them when `display` changes.
import { h } from "./dom.js";

const WRITTEN = new WeakMap(); // row to what it was made of

/** Make a table. Columns have a `title`, what makes the `cell` of a row, and a `kind`: lead, number or actions. */
export function table(caption, columns, rows, keyOf = (row) => row.id) {
  const heads = columns.map(({ title, kind }) =>
    h(
      "th",
      { scope: "col", role: "columnheader", class: kind },
      kind === "actions" ? h("span", { class: "unseen" }, title) : title,
    ),
  );
  const body = rows.map((row) => {
    const cells = columns.map(({ title, kind, cell }) =>
      h("td", { role: "cell", class: kind, "data-label": title }, cell(row)),
    );
    const made = h("tr", { role: "row", data: { key: String(keyOf(row)) } }, cells);
    WRITTEN.set(made, JSON.stringify(row));
    return made;
  });
  return h(
    "div",
    { class: "card table-wrap" },
    h(
      "table",
      { class: "table cards", role: "table" },
      h("caption", { class: "unseen" }, caption),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads)),
      h("tbody", { role: "rowgroup" }, body),
    ),
  );
}

/** Put another version of a table, and what is below it, into its place; what did not change is left alone. */
export function replaceTable(place, ...made) {
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  const key = focused?.closest("tr")?.dataset.key;
  made.forEach((next, at) => {
    const shown = place.children[at];
    if (!shown) place.append(next);
    else if (bodyOf(shown) && bodyOf(next)) mergeRows(bodyOf(shown), bodyOf(next));
    else if (!shown.isEqualNode(next)) shown.replaceWith(next);
  });
  while (place.children.length > made.length) place.lastElementChild.remove();
  if (focused?.isConnected) focused.focus({ preventScroll: true }); // what is moved loses it
  else if (focused) refocus(place, focused, key);
}

function bodyOf(element) {
  return element.querySelector(":scope > table > tbody");
}

// Rows that say the same stay: with the focus, and with what is selected in them.
function mergeRows(body, next) {
  const known = new Map([...body.children].map((row) => [row.dataset.key, row]));
  const rows = [...next.children].map((row) => {
    const old = known.get(row.dataset.key);
    return old && WRITTEN.get(old) === WRITTEN.get(row) && old.isEqualNode(row) ? old : row;
  });
  const kept = new Set(rows);
  for (const row of [...body.children]) if (!kept.has(row)) row.remove();
  rows.forEach((row, at) => body.children[at] === row || body.insertBefore(row, body.children[at] ?? null));
}

// The same control of the same row, or of what is below the table; when it is disabled, the one beside it.
function refocus(place, focused, key) {
  const within = key === undefined ? place : [...place.querySelectorAll("tr")].find((row) => row.dataset.key === key);
  const controls = [...(within?.querySelectorAll("a[href], button") ?? [])];
  const same = controls.find((each) => nameOf(each) === nameOf(focused));
  const wanted = same?.disabled ? [...same.parentElement.children].find((each) => !each.disabled) : same;
  wanted?.focus({ preventScroll: true });
}

function nameOf(control) {
  return control.dataset.action ?? control.getAttribute("href");
}

/** A small button of a row. */
export function rowButton(label, action, act, attributes = {}) {
  return h(
    "button",
    { type: "button", class: "button compact", data: { action }, on: { click: act }, ...attributes },
    label,
  );
}
