// What a store request was answered, in words (PS3.18 10.5.3 and Table I.1-1).
import { number, text, values } from "./dicom.js";

const FAILED = "00081198";
const STORED = "00081199";
const OTHERS = "0008119A";
const FAILURE_REASON = "00081197";
const WARNING_REASON = "00081196";
const ERROR_COMMENT = "00000902";
const TEXT_VALUE = "0040A160";
const RETRIEVE_URL = "00081190";

const REASONS = {
  0x0110: "Processing failed",
  0x0111: "A different file is stored under the same UIDs",
  0x0112: "No such object instance",
  0x0122: "This SOP class is not stored",
  0x0124: "Not authorized",
  0xa700: "Out of resources",
  0xa900: "An identifier is missing or does not fit",
  0xa901: "It belongs to another study",
  0xc000: "It cannot be understood as DICOM",
  0xc122: "This transfer syntax is not stored",
};

/** Read an answer: how many were stored, of which studies, what was refused and what was remarked. */
export function readAnswer(status, body) {
  const answer = { stored: 0, studies: new Set(), refused: [], remarks: [] };
  if (!body || typeof body !== "object") return answer;
  if (typeof body.detail === "string") return { ...answer, refused: [body.detail] };
  for (const item of values(body, STORED)) {
    answer.stored += 1;
    const found = /\/studies\/([0-9.]+)/.exec(text(item, RETRIEVE_URL));
    if (found) answer.studies.add(found[1]);
    if (number(item, WARNING_REASON)) answer.remarks.push(sentence(item, WARNING_REASON));
  }
  for (const item of [...values(body, FAILED), ...values(body, OTHERS)])
    answer.refused.push(sentence(item, FAILURE_REASON));
  return answer;
}

function sentence(item, tag) {
  const code = number(item, tag);
  const said = text(item, TEXT_VALUE) || text(item, ERROR_COMMENT);
  return (
    said ||
    REASONS[code] ||
    (code === null ? "Refused without a reason" : `Reason ${code.toString(16).toUpperCase().padStart(4, "0")}`)
  );
}
