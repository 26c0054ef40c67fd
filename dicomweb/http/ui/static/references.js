// What an object says it was made of: references to images and to their frames (PS3.3 10.3).
import { TAG, text, values } from "./dicom.js";

const DEEPEST = 12;

/** The references of a sequence: [{instance, frames}], without frames for all of them. */
export function referencesOf(items) {
  return items.map((item) => ({
    instance: text(item, TAG.ReferencedSOPInstanceUID),
    frames: values(item, TAG.ReferencedFrameNumber).map(Number),
  }));
}

/** Whether one of these references is to a frame. */
export function referTo(references, frame) {
  return references.some(
    ({ instance, frames }) => instance === frame.instance && (!frames.length || frames.includes(frame.number)),
  );
}

/** Whether one of these UIDs stands anywhere in a data set. */
export function mentions(dataset, uids, depth = 0) {
  return Object.values(dataset ?? {}).some((element) =>
    (Array.isArray(element?.Value) ? element.Value : []).some((value) =>
      typeof value === "string"
        ? uids.has(value)
        : element.vr === "SQ" && depth < DEEPEST && mentions(value, uids, depth + 1),
    ),
  );
}
