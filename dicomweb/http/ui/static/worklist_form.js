// A worklist item in a form. What the form does not show stays as it was: the item is changed, not made anew.
import { field, formDialog } from "./dialogs.js";
import { h } from "./dom.js";
import { date, TAG, text, time, values } from "./dicom.js";
import { isoDate } from "./format.js";

const VR = {
  PatientName: "PN",
  ReferringPhysicianName: "PN",
  PatientID: "LO",
  PatientBirthDate: "DA",
  PatientSex: "CS",
  AccessionNumber: "SH",
  RequestedProcedureDescription: "LO",
  RequestedProcedureID: "SH",
  StudyInstanceUID: "UI",
  Modality: "CS",
  ScheduledStationAETitle: "AE",
  ScheduledProcedureStepStartDate: "DA",
  ScheduledProcedureStepStartTime: "TM",
  ScheduledProcedureStepDescription: "LO",
  ScheduledProcedureStepStatus: "CS",
};
const OF_ITEM = [
  "PatientID",
  "PatientBirthDate",
  "PatientSex",
  "AccessionNumber",
  "RequestedProcedureDescription",
  "ReferringPhysicianName",
];
const OF_STEP = [
  "Modality",
  "ScheduledStationAETitle",
  "ScheduledProcedureStepStartDate",
  "ScheduledProcedureStepStartTime",
  "ScheduledProcedureStepDescription",
];
const MODALITIES = ["CT", "MR", "US", "CR", "DX", "MG", "PT", "NM", "XA", "RF", "OT"];

/** Open the form of an item, or of a new one; `put` gets the DICOM JSON object. */
export function worklistDialog(item, put) {
  const step = values(item, TAG.ScheduledProcedureStepSequence)[0] ?? {};
  const steps = values(item, TAG.ScheduledProcedureStepSequence).length;
  const [family = "", given = ""] = text(item, TAG.PatientName).split("^");
  const input = (name, value, attributes = {}) =>
    h("input", { type: "text", name, value: value ?? "", autocomplete: "off", spellcheck: "false", ...attributes });
  const day = (dataset, keyword, otherwise = "") => {
    const found = date(text(dataset, TAG[keyword]));
    return /^\d{4}-\d\d-\d\d$/.test(found) ? found : otherwise;
  };
  const sex = h(
    "select",
    { name: "PatientSex" },
    [
      ["", "Unknown"],
      ["F", "Female"],
      ["M", "Male"],
      ["O", "Other"],
    ].map(([value, title]) => h("option", { value, selected: value === text(item, TAG.PatientSex) }, title)),
  );
  const known = text(step, TAG.Modality);
  const modality = h(
    "select",
    { name: "Modality", required: true },
    [...new Set([...(known ? [known] : []), ...MODALITIES])].map((each) =>
      h("option", { value: each, selected: each === known }, each),
    ),
  );
  const body = [
    h(
      "div",
      { class: "grid-2" },
      field("Family name", input("family", family, { required: true })),
      field("Given name", input("given", given)),
      field("Patient ID", input("PatientID", text(item, TAG.PatientID), { required: true, maxlength: 64 })),
      field("Birth date", h("input", { type: "date", name: "PatientBirthDate", value: day(item, "PatientBirthDate") })),
      field("Sex", sex),
      field("Accession number", input("AccessionNumber", text(item, TAG.AccessionNumber), { maxlength: 16 })),
      field(
        "Requested procedure",
        input("RequestedProcedureDescription", text(item, TAG.RequestedProcedureDescription), { maxlength: 64 }),
        "",
        true,
      ),
      field(
        "Referring physician",
        input("ReferringPhysicianName", text(item, TAG.ReferringPhysicianName)),
        "Family^Given",
        true,
      ),
    ),
    h("h3", {}, steps > 1 ? `First of ${steps} steps` : "Step"),
    h(
      "div",
      { class: "grid-2" },
      field("Modality", modality),
      field(
        "Station AE title",
        input("ScheduledStationAETitle", text(step, TAG.ScheduledStationAETitle), { required: true, maxlength: 16 }),
      ),
      field(
        "Date",
        h("input", {
          type: "date",
          name: "ScheduledProcedureStepStartDate",
          value: day(step, "ScheduledProcedureStepStartDate", isoDate(new Date())),
          required: true,
        }),
      ),
      field(
        "Time",
        h("input", {
          type: "time",
          name: "ScheduledProcedureStepStartTime",
          value: text(step, TAG.ScheduledProcedureStepStartTime)
            ? time(text(step, TAG.ScheduledProcedureStepStartTime))
            : "08:00",
          required: true,
        }),
      ),
      field(
        "Description",
        input("ScheduledProcedureStepDescription", text(step, TAG.ScheduledProcedureStepDescription), {
          maxlength: 64,
        }),
        "",
        true,
      ),
    ),
  ];
  return formDialog({
    title: item ? "Worklist item" : "Add to the worklist",
    body,
    action: item ? "Save" : "Add",
    submit: (form) => put(itemOf(item, form)),
  });
}

/** Write what the form says into a copy of the item. */
function itemOf(item, { elements }) {
  const changed = structuredClone(item ?? {});
  delete changed[TAG.RetrieveURL];
  // Other parts of a name, and its groups in other scripts, belong to what stood there before.
  const rest = text(changed, TAG.PatientName).split("^").slice(2);
  const name = [elements.family.value.trim(), elements.given.value.trim(), ...rest].join("^").replace(/\^+$/, "");
  if (name !== text(changed, TAG.PatientName)) changed[TAG.PatientName] = { vr: "PN", Value: [{ Alphabetic: name }] };
  for (const keyword of OF_ITEM) write(changed, keyword, elements[keyword].value);
  const steps = values(changed, TAG.ScheduledProcedureStepSequence);
  const step = steps[0] ?? {};
  for (const keyword of OF_STEP) write(step, keyword, elements[keyword].value);
  changed[TAG.ScheduledProcedureStepSequence] = { vr: "SQ", Value: [step, ...steps.slice(1)] };
  return changed;
}

function write(dataset, keyword, given) {
  const vr = VR[keyword];
  const digits = vr === "DA" || vr === "TM" ? given.replace(/[-:]/g, "") : given.trim();
  if (digits === text(dataset, TAG[keyword])) return;
  if (vr === "TM" && text(dataset, TAG[keyword]).startsWith(digits) && digits) return; // seconds are not shown
  dataset[TAG[keyword]] = digits ? { vr, Value: [vr === "PN" ? { Alphabetic: digits } : digits] } : { vr };
}
