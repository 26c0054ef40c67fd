// The worklist: what modalities are given to do.
import { confirmDialog } from "./dialogs.js";
import { debounced, fill, h, icon, ICONS } from "./dom.js";
import { date, nameElement, TAG, text, time, values } from "./dicom.js";
import { isoDate } from "./format.js";
import { API, isAbort, json, request, send } from "./http.js";
import { announce, emptiness, failure, notice } from "./notices.js";
import { subsections } from "./sections.js";
import { replaceTable, rowButton, table } from "./table.js";
import { worklistDialog } from "./worklist_form.js";

const PAGE_SIZE = 50;
const DICOM_JSON = "application/dicom+json";
const LOOKS = {
  SCHEDULED: "",
  ARRIVED: "accent",
  READY: "accent",
  STARTED: "warn",
  "IN PROGRESS": "warn",
  COMPLETED: "good",
  DISCONTINUED: "bad",
};

/** Show the worklist. */
export async function worklistPage(main, asked, leave) {
  const place = h("div", {});
  const name = h("input", {
    type: "search",
    placeholder: "Patient name",
    "aria-label": "Patient name",
    autocomplete: "off",
    spellcheck: "false",
  });
  const day = h("input", { type: "date", "aria-label": "Date" });
  const modality = h("input", {
    type: "search",
    placeholder: "Modality",
    "aria-label": "Modality",
    maxlength: 16,
    autocomplete: "off",
  });
  const station = h("input", {
    type: "search",
    placeholder: "Station AE title",
    "aria-label": "Station AE title",
    maxlength: 16,
    autocomplete: "off",
  });
  const today = h(
    "button",
    {
      type: "button",
      class: "button",
      on: { click: () => ((day.value = day.value ? "" : isoDate(new Date())), choose()) },
    },
    "Today",
  );
  const add = h(
    "button",
    { type: "button", class: "button primary", on: { click: () => edit(null) } },
    icon(ICONS.plus),
    "Add",
  );
  const filters = h(
    "form",
    { class: "simple-filters", role: "search", "aria-label": "Worklist" },
    name,
    day,
    today,
    modality,
    station,
  );
  let page = 0;
  let waiting = null;
  fill(
    main,
    h("div", { class: "page-head" }, h("h1", { tabindex: "-1" }, "Worklist"), h("div", { class: "actions" }, add)),
    subsections("worklist", "worklist"),
    filters,
    place,
  );

  const load = async (quietly = false) => {
    waiting?.abort();
    const own = (waiting = new AbortController());
    try {
      const found = await json(`${API}/worklist?${parameters()}`, { signal: own.signal });
      if (!found.length && page) {
        page -= 1; // everything on it is gone
        return await load(quietly);
      }
      draw(found.slice(0, PAGE_SIZE), found.length > PAGE_SIZE);
      if (!quietly) announce(`${Math.min(found.length, PAGE_SIZE)} items`);
    } catch (error) {
      if (!isAbort(error)) fill(place, failure(error, load));
    } finally {
      if (waiting === own) waiting = null;
    }
  };
  // A press that comes before the page it was meant for turns nothing.
  const turn = (by) => {
    if (waiting || page + by < 0) return;
    page += by;
    load();
  };
  const parameters = () => {
    const given = [`limit=${PAGE_SIZE + 1}`, `offset=${page * PAGE_SIZE}`];
    const add = (key, value) => value && given.push(`${key}=${encodeURIComponent(value)}`);
    add("PatientName", name.value.trim());
    if (name.value.trim()) given.push("fuzzymatching=true");
    add("ScheduledProcedureStepSequence.ScheduledProcedureStepStartDate", day.value.replaceAll("-", ""));
    add("ScheduledProcedureStepSequence.Modality", modality.value.trim().toUpperCase());
    add("ScheduledProcedureStepSequence.ScheduledStationAETitle", station.value.trim());
    return given.join("&");
  };
  const choose = () => {
    page = 0;
    today.setAttribute("aria-pressed", String(day.value === isoDate(new Date())));
    load();
  };
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("input", debounced(220, choose));

  const edit = async (item) => {
    try {
      let tag = null;
      if (item) {
        const response = await request(`${API}${path(item)}`, { signal: leave });
        tag = response.headers.get("etag")?.replace(/^W\//, "");
        item = await response.json();
      }
      worklistDialog(item, async (changed) => {
        const headers = tag ? { "If-Match": tag } : {};
        await send(item ? "PUT" : "POST", item ? path(item) : "/worklist", changed, { type: DICOM_JSON, headers });
        notice(item ? "The worklist item is changed." : "It is on the worklist.");
        await load(true);
      });
    } catch (error) {
      if (!isAbort(error)) notice(error.message, { bad: true });
    }
  };
  const remove = (item) =>
    confirmDialog(
      "Take it off the worklist?",
      "Modalities are not given it any more. What was performed stays.",
      "Delete",
      async () => {
        await send("DELETE", path(item));
        await load(true);
      },
    );
  const draw = (items, more) => {
    if (!items.length && !page)
      return fill(
        place,
        emptiness(
          ICONS.list,
          "Nothing on the worklist",
          "What is added here, or comes in by import, is what modalities are given to do.",
        ),
      );
    const pager = h(
      "nav",
      { class: "pager", "aria-label": "Pages", hidden: !page && !more },
      h(
        "button",
        {
          type: "button",
          class: "button",
          disabled: !page,
          data: { action: "previous" },
          on: { click: () => turn(-1) },
        },
        icon(ICONS.back),
        "Previous",
      ),
      h(
        "button",
        { type: "button", class: "button", disabled: !more, data: { action: "next" }, on: { click: () => turn(1) } },
        "Next",
        icon(ICONS.next),
      ),
    );
    return replaceTable(place, table("Worklist", columns({ edit, remove }), items, path), pager);
  };
  leave.addEventListener("abort", () => waiting?.abort());
  await load(true);
}

function columns({ edit, remove }) {
  const step = (item) => values(item, TAG.ScheduledProcedureStepSequence)[0] ?? {};
  const others = (item) => values(item, TAG.ScheduledProcedureStepSequence).length - 1;
  const status = (item) => text(step(item), TAG.ScheduledProcedureStepStatus) || "SCHEDULED";
  return [
    {
      title: "Patient",
      kind: "lead",
      cell: (item) => [
        h("span", { class: "strong" }, nameElement(item)),
        h(
          "div",
          { class: "muted small" },
          [text(item, TAG.PatientID), text(item, TAG.PatientBirthDate) && date(text(item, TAG.PatientBirthDate))]
            .filter(Boolean)
            .join(" · "),
        ),
      ],
    },
    {
      title: "Begins",
      cell: (item) =>
        `${date(text(step(item), TAG.ScheduledProcedureStepStartDate))} ${time(text(step(item), TAG.ScheduledProcedureStepStartTime))}`,
    },
    { title: "Modality", cell: (item) => h("span", { class: "badge" }, text(step(item), TAG.Modality)) },
    { title: "Station", cell: (item) => h("span", { class: "mono" }, text(step(item), TAG.ScheduledStationAETitle)) },
    {
      title: "Procedure",
      cell: (item) =>
        h(
          "span",
          {},
          text(step(item), TAG.ScheduledProcedureStepDescription) ||
            text(item, TAG.RequestedProcedureDescription) ||
            h("span", { class: "muted" }, "No description"),
          others(item) > 0 && h("span", { class: "muted small" }, ` and ${others(item)} more`),
          text(item, TAG.AccessionNumber) &&
            h("div", { class: "muted small" }, `Accession ${text(item, TAG.AccessionNumber)}`),
        ),
    },
    {
      title: "Status",
      cell: (item) => h("span", { class: `badge ${LOOKS[status(item)] ?? ""}` }, status(item).toLowerCase()),
    },
    {
      title: "Actions",
      kind: "actions",
      cell: (item) =>
        h(
          "span",
          { class: "row-actions" },
          rowButton("Edit", "edit", () => edit(item)),
          rowButton("Delete", "delete", () => remove(item), { class: "button compact quiet danger" }),
        ),
    },
  ];
}

// The host in the address may be one that only the server knows itself by.
function path(item) {
  return `/worklist/${text(item, TAG.RetrieveURL).split("/").pop()}`;
}
