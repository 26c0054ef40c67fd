// What studies are looked for: between the fields of the form, the address, and the query.
import { debounced, h, icon, ICONS } from "./dom.js";
import { isoDate } from "./format.js";
import { modalityChips } from "./modality_chips.js";

const PERIODS = [
  ["", "Any date"],
  ["today", "Today"],
  ["7d", "Last 7 days"],
  ["30d", "Last 30 days"],
  ["365d", "Last year"],
  ["between", "Between …"],
];
const TYPING_PAUSE = 220;
const READING_PAUSE = 1000; // after which a date that is half typed is a wrong one
// A year that is being typed begins as 0002; one of more than four digits is none.
const DAYS = { min: "1800-01-01", max: "9999-12-31" };
const NOTHING = { name: "", id: "", accession: "", description: "", period: "", from: "", to: "", modality: "" };

/** Read the filters of a route: names and numbers come from the state of the history entry, not from the address. */
export function filtersOf(route) {
  const { name = "", id = "", accession = "", description = "" } = route.state.search ?? {};
  const given = Object.fromEntries(
    ["period", "from", "to", "modality"].map((key) => [key, route.query.get(key) ?? ""]),
  );
  return { ...NOTHING, ...given, name, id, accession, description };
}

/** What of the filters stands in the address, and what beside it. */
export function partsOf({ name, id, accession, description, ...open }) {
  if (open.period !== "between") open = { ...open, from: "", to: "" };
  return { query: open, search: { name, id, accession, description } };
}

/** Whether anything is looked for at all. */
export function isFiltered(filters) {
  return Object.values(filters).some(Boolean);
}

/**
 * The parameters of the search (PS3.18 10.6). What is in the first box may be a name, an ID or an accession number;
 * `contains` finds it in any part of them, not only at the beginning.
 */
export function parametersOf(filters, { contains = false } = {}) {
  const parameters = [];
  const add = (name, value) => parameters.push(`${name}=${encodeURIComponent(value)}`);
  const wanted = typed(filters.name);
  if (wanted) add("search", contains ? within(wanted) : wanted);
  const texts = { PatientID: filters.id, AccessionNumber: filters.accession, StudyDescription: filters.description };
  const given = Object.entries(texts).filter(([, text]) => text.trim());
  for (const [attribute, text] of given) add(attribute, within(text));
  if (given.length) add("ignorecase", "true");
  if (filters.modality)
    parameters.push(`ModalitiesInStudy=${filters.modality.split(",").map(encodeURIComponent).join(",")}`);
  const dates = datesOf(filters);
  if (dates) add("StudyDate", dates);
  return parameters;
}

/** Make the form. `changed` gets the filters when somebody stops typing or chooses something. */
export function filterForm(filters, changed) {
  const text = (key, label, type = "search") =>
    labelled(
      label,
      h("input", {
        type,
        name: key,
        value: filters[key],
        autocomplete: "off",
        spellcheck: "false",
        placeholder: label,
        enterkeyhint: "search",
      }),
    );
  const period = h(
    "select",
    { name: "period" },
    PERIODS.map(([value, title]) => h("option", { value, selected: value === filters.period }, title)),
  );
  const wrong = h("p", { class: "text-bad small", role: "alert", hidden: true });
  const dates = h(
    "span",
    { class: "filter-dates" },
    labelled("From", h("input", { type: "date", name: "from", value: filters.from, ...DAYS })),
    h("span", { "aria-hidden": "true" }, "–"),
    labelled("To", h("input", { type: "date", name: "to", value: filters.to, ...DAYS })),
  );
  const chips = modalityChips(filters.modality);
  const clear = h("button", { type: "button", class: "button quiet compact", data: { action: "clear" } }, "Clear");
  const more = h(
    "button",
    {
      type: "button",
      class: "button square",
      "aria-label": "More filters",
      "aria-expanded": "false",
      data: { action: "more" },
    },
    icon(ICONS.filter),
  );
  const first = h("div", { class: "filter-first" }, icon(ICONS.search), text("name", "Patient name, ID or accession"), more);
  const form = h(
    "form",
    { class: "filters", role: "search", "aria-label": "Studies", novalidate: true },
    first,
    h(
      "div",
      { class: "filter-rest" },
      text("id", "Patient ID"),
      text("accession", "Accession number"),
      text("description", "Description"),
      labelled("Date", period),
      dates,
    ),
    h("div", { class: "filter-chips", role: "group", "aria-label": "Modalities" }, chips.element, clear),
    wrong,
  );
  const read = () => {
    const given = Object.fromEntries(
      ["name", "id", "accession", "description", "period", "from", "to"].map((key) => [key, form.elements[key].value]),
    );
    return { ...given, modality: chips.chosen() };
  };
  const show = (now, rests = false) => {
    dates.hidden = now.period !== "between";
    clear.hidden = !isFiltered(now);
    wrong.textContent = wrongDates(form.elements.from, form.elements.to, rests);
    wrong.hidden = dates.hidden || !wrong.textContent;
  };
  let told = JSON.stringify(filters);
  const tell = () => {
    const now = read();
    told = JSON.stringify(now);
    show(now);
    const { from, to } = form.elements;
    if (dates.hidden || (!isWrong(from) && !isWrong(to))) changed(now);
  };
  const paused = debounced(TYPING_PAUSE, () => form.isConnected && told !== JSON.stringify(read()) && tell());
  form.addEventListener("input", (event) => (event.target.type === "search" ? paused() : tell()));
  // A day that is none, such as 31 February, changes no value: only keys, and who leaves the field, tell of it.
  const rested = debounced(READING_PAUSE, () => show(read(), true));
  dates.addEventListener("keyup", rested);
  dates.addEventListener("focusout", () => show(read()));
  form.addEventListener("keydown", (event) => {
    // A form of several fields without a button to send it does not do so by itself; Enter also ends a composition.
    if (event.key === "Enter" && event.target.type === "search" && !event.isComposing) form.requestSubmit();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    tell();
    // A barcode reader types and presses Enter; what it reads next takes the place of that.
    if (document.activeElement === form.elements.name) form.elements.name.select();
  });
  form.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.modality) {
      chips.turn(button);
      tell();
    } else if (button === more) {
      more.setAttribute("aria-expanded", String(form.classList.toggle("open")));
    } else if (button === clear) {
      write(form, chips, NOTHING);
      tell();
      form.elements.name.focus();
    }
  });
  show(filters);
  form.showFilters = (other) => {
    if (JSON.stringify(read()) !== JSON.stringify(other)) write(form, chips, other);
    told = JSON.stringify(other);
    show(other);
  };
  form.showModalities = (counts) => chips.show(counts);
  return form;
}

function write(form, chips, filters) {
  for (const key of ["name", "id", "accession", "description", "period", "from", "to"])
    form.elements[key].value = filters[key];
  chips.choose(filters.modality);
}

// Marks the days that cannot be asked for, and says why, but not while one is still being typed.
function wrongDates(from, to, rests) {
  to.setCustomValidity("");
  const reversed = from.value && to.value && !isWrong(from) && !isWrong(to) && from.value > to.value;
  if (reversed) to.setCustomValidity("The last day is before the first one.");
  for (const input of [from, to]) input.setAttribute("aria-invalid", String(isWrong(input)));
  if (reversed) return to.validationMessage;
  const said = [from, to].filter((input) => isWrong(input) && (rests || input !== document.activeElement));
  if (said.some(({ validity }) => validity.badInput)) return "A day is not complete, or there is no such day.";
  return said.length ? "Only days since 1800 can be looked for." : "";
}

// A day that is not complete, or not in the calendar, has no value; to ask without it would find every study.
function isWrong({ validity }) {
  return validity.badInput || validity.rangeUnderflow || validity.rangeOverflow || validity.customError;
}

function labelled(label, control) {
  control.setAttribute("aria-label", label);
  return control;
}

// Readers of barcodes may send marks of their own before and after the text, which nobody sees.
function typed(text) {
  return text.replace(/\p{C}+/gu, " ").trim();
}

function within(text) {
  const wanted = typed(text);
  return /[*?]/.test(wanted) ? wanted : `*${wanted}*`;
}

function datesOf({ period, from, to }) {
  const plain = (day) => day.replaceAll("-", "");
  if (period === "between") return from || to ? (from === to ? plain(from) : `${plain(from)}-${plain(to)}`) : "";
  if (!period) return "";
  const days = period === "today" ? 0 : Number.parseInt(period, 10);
  if (!Number.isFinite(days)) return "";
  const first = new Date();
  first.setDate(first.getDate() - days);
  return days ? `${plain(isoDate(first))}-` : plain(isoDate(first));
}
