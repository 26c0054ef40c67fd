// What studies are looked for: between the fields of the form, the address, and the query.
import { debounced, h, icon, ICONS } from "./dom.js";
import { isoDate } from "./format.js";

const MODALITIES = ["CT", "MR", "US", "CR", "DX", "MG", "PT", "NM", "XA", "RF", "OP", "SM", "SEG", "SR"];
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

/** The parameters of the search (PS3.18 10.6); `contains` finds names by any part, not only by how words begin. */
export function parametersOf(filters, { contains = false } = {}) {
  const parameters = [];
  const add = (name, value) => parameters.push(`${name}=${encodeURIComponent(value)}`);
  const name = filters.name.trim();
  if (/[*?]/.test(name)) add("PatientName", name);
  else if (name && contains) add("PatientName", `*${name}*`);
  else if (name) {
    add("PatientName", name.replaceAll(",", " "));
    add("fuzzymatching", "true");
  }
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
  const chosen = new Set(filters.modality.split(",").filter(Boolean));
  const chips = MODALITIES.map((modality) =>
    h(
      "button",
      { type: "button", class: "chip", "aria-pressed": String(chosen.has(modality)), data: { modality } },
      modality,
    ),
  );
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
  const first = h("div", { class: "filter-first" }, icon(ICONS.search), text("name", "Patient name"), more);
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
    h("div", { class: "filter-chips", role: "group", "aria-label": "Modalities" }, chips, clear),
    wrong,
  );
  const read = () => {
    const given = Object.fromEntries(
      ["name", "id", "accession", "description", "period", "from", "to"].map((key) => [key, form.elements[key].value]),
    );
    return {
      ...given,
      modality: chips
        .filter((chip) => chip.getAttribute("aria-pressed") === "true")
        .map((chip) => chip.dataset.modality)
        .join(","),
    };
  };
  const show = (now, rests = false) => {
    dates.hidden = now.period !== "between";
    clear.hidden = !isFiltered(now);
    wrong.textContent = wrongDates(form.elements.from, form.elements.to, rests);
    wrong.hidden = dates.hidden || !wrong.textContent;
  };
  const tell = () => {
    const now = read();
    show(now);
    const { from, to } = form.elements;
    if (dates.hidden || (!isWrong(from) && !isWrong(to))) changed(now);
  };
  const typed = debounced(TYPING_PAUSE, tell);
  form.addEventListener("input", (event) => (event.target.type === "search" ? typed() : tell()));
  // A day that is none, such as 31 February, changes no value: only keys, and who leaves the field, tell of it.
  const rested = debounced(READING_PAUSE, () => show(read(), true));
  dates.addEventListener("keyup", rested);
  dates.addEventListener("focusout", () => show(read()));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    tell();
  });
  form.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.modality) {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
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
    show(other);
  };
  return form;
}

function write(form, chips, filters) {
  for (const key of ["name", "id", "accession", "description", "period", "from", "to"])
    form.elements[key].value = filters[key];
  const chosen = new Set(filters.modality.split(","));
  for (const chip of chips) chip.setAttribute("aria-pressed", String(chosen.has(chip.dataset.modality)));
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

function within(text) {
  const wanted = text.trim();
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
