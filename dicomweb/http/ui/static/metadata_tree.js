// The metadata of an instance as a tree, with names, and what of it a search finds.
import { debounced, fill, h, icon, ICONS } from "./dom.js";
import { json, ROOT } from "./http.js";
import { nameGroup } from "./dicom.js";
import { plural } from "./format.js";

const MOST_FOUND = 400;
const LONGEST = 300;

let dictionary = null;

/** The names of attributes and UIDs; asked for once, when first needed. */
export function names() {
  dictionary ??= json(new URL("dictionary.json", import.meta.url)).catch((error) => {
    dictionary = null;
    throw error;
  });
  return dictionary;
}

/** Make the view; `show` puts another data set into it and keeps what is searched for. */
export function metadataTree() {
  const search = h("input", {
    type: "search",
    placeholder: "Search names, tags, values",
    "aria-label": "Search the metadata",
    autocomplete: "off",
    spellcheck: "false",
  });
  const found = h("p", { class: "muted small", role: "status" });
  const list = h("div", { class: "metadata" });
  const element = h(
    "div",
    { class: "metadata-view" },
    h("div", { class: "metadata-search" }, icon(ICONS.search), search, found),
    list,
  );
  let dataset = {};
  let table = null;
  const draw = () => {
    const wanted = searchable(search.value).split(/\s+/).filter(Boolean);
    if (!wanted.length) {
      found.textContent = plural(Object.keys(dataset).length, "attribute");
      return fill(list, rows(dataset, table));
    }
    const hits = find(dataset, table, wanted);
    found.textContent = hits.length >= MOST_FOUND ? `The first ${MOST_FOUND}` : plural(hits.length, "attribute");
    return fill(
      list,
      hits.map(({ tag, attribute, inside, path }) => rowOf(inside, tag, attribute, table, path)),
    );
  };
  search.addEventListener("input", debounced(120, draw));
  const show = async (other) => {
    table ??= await names();
    dataset = other;
    draw();
  };
  return { element, show };
}

function rows(dataset, table) {
  return Object.keys(dataset)
    .sort()
    .map((tag) => rowOf(dataset, tag, dataset[tag], table));
}

function rowOf(dataset, tag, attribute, table, path = []) {
  const items = attribute?.vr === "SQ" ? (attribute.Value ?? []) : null;
  const above = path.length > 0 && h("span", { class: "muted small" }, path.join(" › "));
  const head = [
    h("span", { class: "m-tag mono" }, `(${tag.slice(0, 4)},${tag.slice(4)})`),
    h("span", { class: "m-name" }, above, nameOf(dataset, tag, table)),
    h("span", { class: "m-vr mono" }, attribute?.vr ?? ""),
  ];
  if (!items?.length)
    return h(
      "div",
      { class: "m-row" },
      head,
      h("span", { class: "m-value" }, items ? h("span", { class: "muted" }, "no items") : valueOf(attribute, table)),
    );
  const inside = h("div", { class: "m-items" });
  const details = h(
    "details",
    {},
    h("summary", { class: "m-row" }, head, h("span", { class: "m-value muted" }, plural(items.length, "item"))),
    inside,
  );
  // Functional groups of a thousand frames are made when they are looked at.
  details.addEventListener(
    "toggle",
    () => details.open && !inside.children.length && inside.append(...itemsOf(items, table)),
  );
  return details;
}

function itemsOf(items, table) {
  const most = 50;
  const made = items
    .slice(0, most)
    .map((item, place) =>
      h("div", { class: "m-item" }, h("p", { class: "m-number" }, `Item ${place + 1}`), rows(item ?? {}, table)),
    );
  if (items.length > most) {
    const more = h("button", { type: "button", class: "button compact" }, `Show ${items.length - most} more`);
    more.addEventListener("click", () =>
      more.replaceWith(
        ...items
          .slice(most)
          .map((item, place) =>
            h(
              "div",
              { class: "m-item" },
              h("p", { class: "m-number" }, `Item ${most + place + 1}`),
              rows(item ?? {}, table),
            ),
          ),
      ),
    );
    made.push(more);
  }
  return made;
}

function entryOf(tag, table) {
  if (table.attributes[tag]) return table.attributes[tag];
  const mask = Object.keys(table.repeated).find((each) =>
    [...each].every((digit, place) => digit === "x" || digit === tag[place]),
  );
  return mask ? table.repeated[mask] : null;
}

function nameOf(dataset, tag, table) {
  const entry = entryOf(tag, table);
  if (entry) return entry[1];
  if (tag.endsWith("0000")) return "Group Length";
  if (Number.parseInt(tag[3], 16) % 2 === 0) return "Unknown";
  if (tag.startsWith("00", 4)) return "Private Creator";
  const creator = dataset[`${tag.slice(0, 4)}00${tag.slice(4, 6)}`]?.Value?.[0];
  return creator ? `Private · ${creator}` : "Private";
}

function valueOf(attribute, table) {
  if (attribute?.BulkDataURI) return bulkOf(attribute.BulkDataURI);
  if (attribute?.InlineBinary)
    return h(
      "span",
      { class: "muted" },
      `binary, ${plural(Math.floor((attribute.InlineBinary.length * 3) / 4), "byte")}`,
    );
  const values = attribute?.Value ?? [];
  if (!values.length) return h("span", { class: "muted" }, "empty");
  const written = writtenOf(values);
  const name = attribute.vr === "UI" && table.uids[values[0]];
  return [long(written), name && h("span", { class: "muted m-uid" }, name)];
}

function writtenOf(values) {
  return values
    .map((value) => (value === null ? "" : typeof value === "object" ? groupsOf(value) : String(value)))
    .join(" \\ ");
}

function groupsOf(name) {
  return [nameGroup(name.Alphabetic), nameGroup(name.Ideographic, true), nameGroup(name.Phonetic, true)]
    .filter(Boolean)
    .join(" = ");
}

function long(written) {
  if (written.length <= LONGEST) return h("bdi", {}, written);
  const text = h("bdi", {}, `${written.slice(0, LONGEST)}… `);
  const more = h("button", { type: "button", class: "link" }, `all ${plural(written.length, "character")}`);
  more.addEventListener("click", () => {
    text.textContent = written;
    more.remove();
  });
  return [text, more];
}

// The host in the address may be one that only the server knows itself by.
function bulkOf(uri) {
  const path = /\/studies\/[^?#]*/.exec(uri)?.[0];
  return path
    ? h("a", { href: ROOT + path, download: "" }, "download the value")
    : h("span", { class: "muted" }, "stored apart");
}

// "Patient's Name" is found by "patient name".
function searchable(words) {
  return words.toLowerCase().replace(/['’]s\b/g, "");
}

function find(dataset, table, wanted, path = [], hits = []) {
  for (const tag of Object.keys(dataset ?? {}).sort()) {
    if (hits.length >= MOST_FOUND) return hits;
    const attribute = dataset[tag];
    const name = nameOf(dataset, tag, table);
    const entry = entryOf(tag, table);
    const items = attribute?.vr === "SQ" ? (attribute.Value ?? []) : [];
    const value = items.length ? "" : writtenOf(attribute?.Value ?? []);
    const told = searchable([`(${tag.slice(0, 4)},${tag.slice(4)})`, tag, name, entry?.[2] ?? "", value].join(" "));
    if (wanted.every((word) => told.includes(word))) hits.push({ tag, attribute, inside: dataset, path });
    items.forEach((item, place) => find(item, table, wanted, [...path, `${name} ${place + 1}`], hits));
  }
  return hits;
}
