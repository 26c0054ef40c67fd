// Tables that are a stack of cards on a phone. Roles are spelt out: browsers forget them when `display` changes.
import { h } from "./dom.js";

/** Make a table. Columns have a `title`, what makes the `cell` of a row, and a `kind`: lead, number or actions. */
export function table(caption, columns, rows, keyOf = (row) => row.id) {
  const heads = columns.map(({ title, kind }) =>
    h(
      "th",
      { scope: "col", role: "columnheader", class: kind },
      kind === "actions" ? h("span", { class: "unseen" }, title) : title,
    ),
  );
  const body = rows.map((row) =>
    h(
      "tr",
      { role: "row", data: { key: String(keyOf(row)) } },
      columns.map(({ title, kind, cell }) => h("td", { role: "cell", class: kind, "data-label": title }, cell(row))),
    ),
  );
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

/** Put another version of a table into its place and give the focus back to the same control of the same row. */
export function replaceTable(place, made) {
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  const key = focused?.closest("tr")?.dataset.key;
  const name = focused?.dataset.action;
  place.replaceChildren(made);
  if (key === undefined || !name) return;
  const row = [...made.querySelectorAll("tr")].find((each) => each.dataset.key === key);
  [...(row?.querySelectorAll("[data-action]") ?? [])].find((each) => each.dataset.action === name)?.focus();
}

/** A small button of a row. */
export function rowButton(label, action, act, attributes = {}) {
  return h(
    "button",
    { type: "button", class: "button compact", data: { action }, on: { click: act }, ...attributes },
    label,
  );
}
