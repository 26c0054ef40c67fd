// The table of studies. Rows are known by their UID and kept while they last: focus and eyes stay where they are.
import { fill, h } from "./dom.js";
import { date, nameElement, number, sex, TAG, text, time, values } from "./dicom.js";
import { count, plural } from "./format.js";
import { address } from "./router.js";

const COLUMNS = [
  { key: "patient", title: "Patient", order: "PatientName" },
  { key: "date", title: "Date", order: "StudyDate" },
  { key: "modalities", title: "Modality" },
  { key: "description", title: "Description", order: "StudyDescription" },
  { key: "series", title: "Series", order: "NumberOfStudyRelatedSeries" },
  { key: "images", title: "Instances", order: "NumberOfStudyRelatedInstances" },
];
const SKELETONS = 12;
const WRITTEN = new WeakMap(); // row to what it was made of

/** What a study is sorted by when nothing is chosen: the newest first. */
export const NEWEST = "-StudyDate";

/** Make the table; `sorted` gets the order that is asked for. */
export function studyTable(sorted) {
  const heads = COLUMNS.map(({ key, title, order }) =>
    h(
      "th",
      { scope: "col", role: "columnheader", class: `s-${key}`, data: { order: order ?? "" } },
      order ? h("button", { type: "button", data: { order } }, title) : title,
    ),
  );
  const body = h("tbody", { role: "rowgroup" });
  const element = h(
    "table",
    { class: "studies", role: "table", "aria-label": "Studies" },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads)),
    body,
  );
  element.addEventListener("click", (event) => {
    const order = event.target.closest("button[data-order]")?.dataset.order;
    if (order) return sorted(order);
    const row = event.target.closest("tbody tr");
    if (!row) return;
    // The second press of a double click would mark words of the page that the first one opens.
    addEventListener("mousedown", (next) => next.detail > 1 && next.preventDefault(), { once: true });
    // The whole row is a target for the mouse; the link in it is what keyboards and screen readers use.
    if (!event.target.closest("a") && !getSelection().toString()) row.querySelector("a")?.click();
  });
  element.addEventListener("keydown", (event) => moveFocus(event, body));
  return {
    element,
    show: (studies, arrived) => show(body, studies, arrived),
    waiting: () => fill(body, skeletons()),
    order: (order) => showOrder(element, order),
    focusFirst: () => body.querySelector("a")?.focus(),
    focus: (uid) =>
      [...body.children]
        .find((row) => row.dataset.uid === uid)
        ?.querySelector("a")
        .focus(),
  };
}

// Only what has just come in is marked: rows of another search, or of another page, are no news.
function show(body, studies, arrived) {
  const known = new Map([...body.children].map((row) => [row.dataset.uid, row]));
  const rows = studies.map((study) => {
    const uid = text(study, TAG.StudyInstanceUID);
    const written = JSON.stringify(study);
    const row = known.get(uid);
    if (row && WRITTEN.get(row) === written) return row;
    const made = rowOf(study, uid);
    WRITTEN.set(made, written);
    if (arrived.delete(uid)) made.classList.add(row ? "changed" : "new");
    return made;
  });
  const focused = [...body.children].findIndex((row) => row.contains(document.activeElement));
  const uid = body.children[focused]?.dataset.uid;
  const kept = new Set(rows);
  for (const row of [...body.children]) if (!kept.has(row)) row.remove();
  // What stays where it is is not touched: a row that is put in again loses the focus.
  rows.forEach((row, place) => body.children[place] === row || body.insertBefore(row, body.children[place] ?? null));
  if (focused < 0) return;
  // A study that is gone leaves the focus to what stands in its place.
  const row = rows.find((each) => each.dataset.uid === uid) ?? rows[Math.min(focused, rows.length - 1)];
  row?.querySelector("a").focus({ preventScroll: true });
}

function rowOf(study, uid) {
  const link = h("a", { class: "clip", href: address(["studies", uid]) }, nameElement(study));
  const cells = [
    ["patient", link, second(personOf(study))],
    ["date", ...dateOf(study)],
    ["modalities", modalitiesOf(study)],
    ["description", ...descriptionOf(study)],
    ...countsOf(study),
  ];
  const made = cells.map(([key, ...content]) => h("td", { role: "cell", class: `s-${key}` }, content));
  return h("tr", { role: "row", data: { uid } }, made);
}

function second(said) {
  return said && h("span", { class: "second clip", title: said }, said);
}

function personOf(study) {
  const birth = text(study, TAG.PatientBirthDate);
  const facts = [text(study, TAG.PatientID), birth && `born ${date(birth)}`, sex(text(study, TAG.PatientSex))];
  return facts.filter(Boolean).join(" · ");
}

function dateOf(study) {
  const day = text(study, TAG.StudyDate);
  const clock = text(study, TAG.StudyTime);
  return [h("span", { class: day ? "" : "muted" }, day ? date(day) : "No date"), second(clock && time(clock))];
}

function modalitiesOf(study) {
  const badges = values(study, TAG.ModalitiesInStudy).map((each) => h("span", { class: "badge" }, String(each)));
  return h("span", { class: "badges" }, badges);
}

function descriptionOf(study) {
  const description = text(study, TAG.StudyDescription);
  const accession = text(study, TAG.AccessionNumber);
  const shown = { class: description ? "clip" : "muted none", title: description || null };
  const first = h("span", shown, description || "–");
  return [first, second(accession && `Accession ${accession}`)];
}

function countsOf(study) {
  const series = number(study, TAG.NumberOfStudyRelatedSeries) ?? 0;
  const images = number(study, TAG.NumberOfStudyRelatedInstances) ?? 0;
  const both = `${plural(series, "series", "series")} · ${plural(images, "instance")}`;
  const onPhones = h("span", { class: "s-counts", "aria-hidden": "true" }, both);
  const unit = h("span", { class: "unseen" }, images === 1 ? " instance" : " instances");
  return [
    ["series", h("span", {}, count(series))],
    ["images", h("span", {}, count(images)), unit, onPhones],
  ];
}

function skeletons() {
  const bar = (width) => {
    const element = h("div", { class: "skeleton" });
    element.style.width = `${width}%`;
    return element;
  };
  return Array.from({ length: SKELETONS }, (_, row) =>
    h(
      "tr",
      { class: "waiting", role: "row", "aria-hidden": "true" },
      COLUMNS.map(({ key }, column) =>
        h("td", { role: "cell", class: `s-${key}` }, bar(35 + ((row * 7 + column * 13) % 45))),
      ),
    ),
  );
}

function showOrder(element, order) {
  for (const head of element.querySelectorAll("th")) {
    const { order: key } = head.dataset;
    if (key && order.replace(/^-/, "") === key)
      head.setAttribute("aria-sort", order.startsWith("-") ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
}

function moveFocus(event, body) {
  const links = [...body.querySelectorAll("tr > .s-patient > a")];
  const at = links.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  if (to < 0) document.querySelector('.filters input[name="name"]')?.focus();
  else links[Math.min(to, links.length - 1)].focus();
}
