// Performed procedure steps: what modalities report of their work.
import { infoDialog } from "./dialogs.js";
import { fill, h, ICONS, repeatedly } from "./dom.js";
import { date, time } from "./dicom.js";
import { moment, plural } from "./format.js";
import { API, isAbort, json } from "./http.js";
import { metadataTree } from "./metadata_tree.js";
import { emptiness, failure, notice } from "./notices.js";
import { address } from "./router.js";
import { subsections } from "./sections.js";
import { replaceTable, rowButton, table } from "./table.js";

const LOOKS = { "IN PROGRESS": "warn", COMPLETED: "good", DISCONTINUED: "bad" };
const AGAIN = 5000;

/** Show the steps. */
export async function stepsPage(main, asked, leave) {
  const place = h("div", {});
  const status = h(
    "select",
    { "aria-label": "Status" },
    [
      ["", "Any status"],
      ["IN PROGRESS", "In progress"],
      ["COMPLETED", "Completed"],
      ["DISCONTINUED", "Discontinued"],
    ].map(([value, title]) => h("option", { value }, title)),
  );
  fill(
    main,
    h("div", { class: "page-head" }, h("h1", { tabindex: "-1" }, "Performed steps")),
    subsections("worklist", "steps"),
    h("form", { class: "simple-filters" }, status),
    place,
  );
  const load = async () => {
    try {
      const steps = await json(
        `${API}/performed-steps?limit=200${status.value ? `&status=${encodeURIComponent(status.value)}` : ""}`,
        { signal: leave },
      );
      if (!steps.length)
        fill(
          place,
          emptiness(ICONS.list, "No performed steps", "Modalities report here when they begin and end (MPPS)."),
        );
      else
        replaceTable(
          place,
          table("Performed steps", COLUMNS, steps, (step) => step.sop_instance_uid),
        );
    } catch (error) {
      if (!isAbort(error)) fill(place, failure(error, load));
    }
  };
  status.addEventListener("change", load);
  await repeatedly(AGAIN, load, leave);
}

const COLUMNS = [
  {
    title: "Patient ID",
    kind: "lead",
    cell: (step) => h("span", { class: "strong" }, step.patient_id ?? h("span", { class: "muted" }, "unknown")),
  },
  {
    title: "Began",
    cell: (step) => (step.start ? `${date(step.start.slice(0, 8))} ${time(step.start.slice(8))}` : ""),
  },
  { title: "Modality", cell: (step) => step.modality && h("span", { class: "badge" }, step.modality) },
  { title: "By", cell: (step) => h("span", { class: "mono" }, step.calling_ae_title) },
  {
    title: "Status",
    cell: (step) =>
      h(
        "span",
        { class: "badges" },
        h("span", { class: `badge ${LOOKS[step.status] ?? ""}` }, step.status.toLowerCase()),
        step.warnings.length > 0 &&
          h("span", { class: "badge warn", title: step.warnings.join("\n") }, plural(step.warnings.length, "remark")),
      ),
  },
  {
    title: "Studies",
    cell: (step) =>
      h(
        "span",
        { class: "badges" },
        step.study_instance_uids.map((uid, place) =>
          h(
            "a",
            { href: address(["studies", uid]) },
            step.study_instance_uids.length > 1 ? `Study ${place + 1}` : "Study",
          ),
        ),
      ),
  },
  { title: "Actions", kind: "actions", cell: (step) => rowButton("Details", "details", () => details(step)) },
];

async function details({ sop_instance_uid }) {
  try {
    const step = await json(`${API}/performed-steps/${encodeURIComponent(sop_instance_uid)}`);
    const tree = metadataTree();
    const facts = [
      ["Status", step.status.toLowerCase()],
      ["Instances", `${step.stored_instances} of ${step.referenced_instances} are stored`],
      [
        "Messages",
        h(
          "ul",
          {},
          step.messages.map(({ operation, received_at }) => h("li", {}, `${operation} · ${moment(received_at, true)}`)),
        ),
      ],
      step.warnings.length > 0 && [
        "Remarks",
        h(
          "ul",
          {},
          step.warnings.map((each) => h("li", {}, each)),
        ),
      ],
    ].filter(Boolean);
    infoDialog(
      "Performed step",
      h(
        "div",
        { class: "dialog-body" },
        h(
          "dl",
          { class: "definition" },
          facts.map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]),
        ),
        h("div", { class: "boxed" }, tree.element),
      ),
      { wide: true },
    );
    await tree.show(step.dataset);
  } catch (error) {
    notice(error.message, { bad: true });
  }
}
