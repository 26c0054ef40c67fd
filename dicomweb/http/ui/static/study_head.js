// Whose study it is, of when and what, and what can be done with all of it.
import { copied } from "./copied.js";
import { h, icon, ICONS } from "./dom.js";
import { date, nameElement, number, sex, TAG, text, time, values } from "./dicom.js";
import { plural } from "./format.js";
import { ROOT } from "./http.js";
import { address, go, list } from "./router.js";
import { sendDialog } from "./send_dialog.js";
import { server } from "./server.js";

/** The parts of the head; `shownSeries` tells which series is looked at. */
export function studyHead(uid, study, shownSeries) {
  const [id, ...rest] = person(study);
  const [at, what, order] = facts(study);
  const accession = text(study, TAG.AccessionNumber);
  return [
    h(
      "a",
      {
        class: "button quiet square back",
        href: address(["studies"]),
        "aria-label": "All studies",
        on: { click: back },
      },
      icon(ICONS.back),
    ),
    h(
      "div",
      { class: "study-who" },
      h("h1", { tabindex: "-1" }, nameElement(study)),
      h("p", { class: "dotted muted" }, dotted([id && copied(id, "the patient ID", id), ...rest])),
    ),
    h(
      "div",
      { class: "study-what" },
      h("p", { class: "dotted" }, dotted([at, what, order && copied(accession, "the accession number", order)])),
      h("p", { class: "dotted muted" }, modalities(study), dotted(numbers(study))),
    ),
    h("div", { class: "actions" }, actions(uid, shownSeries)),
  ];
}

/** Who the patient is, beside the name: texts, "" for what is not known. */
export function person(study) {
  const birth = text(study, TAG.PatientBirthDate);
  const age = text(study, TAG.PatientAge);
  const id = text(study, TAG.PatientID);
  return [id, birth && `born ${date(birth)}`, sex(text(study, TAG.PatientSex)), age];
}

/** When and what a study is: texts, "" for what is not known. */
export function facts(study) {
  const day = text(study, TAG.StudyDate);
  const clock = text(study, TAG.StudyTime);
  const accession = text(study, TAG.AccessionNumber);
  const at = day && `${date(day)}${clock ? ` ${time(clock)}` : ""}`;
  return [at, text(study, TAG.StudyDescription), accession && `Accession ${accession}`];
}

function numbers(study) {
  const series = number(study, TAG.NumberOfStudyRelatedSeries) ?? 0;
  return [
    plural(series, "series", "series"),
    plural(number(study, TAG.NumberOfStudyRelatedInstances) ?? 0, "instance"),
    copied(text(study, TAG.StudyInstanceUID), "the Study Instance UID", "UID"),
  ];
}

function modalities(study) {
  const each = values(study, TAG.ModalitiesInStudy).map((modality) => h("span", { class: "badge" }, String(modality)));
  return each.length > 0 && h("span", { class: "badges" }, each);
}

function dotted(parts) {
  return parts.filter(Boolean).map((part) => h("span", {}, part));
}

function actions(uid, shownSeries) {
  const viewer = new URL("../viewer", new URL(".", document.baseURI));
  viewer.searchParams.set("StudyInstanceUIDs", uid);
  const zip = {
    href: `${ROOT}/studies/${uid}?accept=application/zip`,
    download: "",
    title: "All files with a DICOMDIR",
  };
  const send = () => sendDialog(uid, shownSeries());
  return [
    server.viewer && h("a", { class: "button primary", href: viewer.href }, icon(ICONS.images), "Open in OHIF"),
    h("a", { class: "button", ...zip }, icon(ICONS.download), "ZIP"),
    h("button", { type: "button", class: "button", on: { click: send } }, icon(ICONS.send), "Send"),
  ];
}

// Back to the list as it was left, with what was searched for.
function back(event) {
  event.preventDefault();
  go(list.hash, { state: list.state });
}
