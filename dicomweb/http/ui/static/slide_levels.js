// Whole slides: each level is one picture, made of its tiles by the archive (PS3.3 C.8.12.4).
import { number, TAG, text, values } from "./dicom.js";
import { count } from "./format.js";

const WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6";
const MOST_PIXELS = 2 ** 24; // of a level that the archive makes one picture of
const FLAVOURS = ["OVERVIEW", "LABEL"]; // what stands for a slide only where there is nothing better

/** What is asked for of instances to know levels. */
export const LEVELS = ["ImageType", "TotalPixelMatrixColumns", "TotalPixelMatrixRows"];

/** What is said in the place of a level that is not shown. */
export function tooLarge({ columns, rows }) {
  return `This level of ${count(columns)} × ${count(rows)} pixels is too large for a quick look.`;
}

/** The levels among instances, with what is different of them; none when no level can be shown whole. */
export function levelsOf(instances) {
  const levels = new Map();
  for (const each of instances) {
    const rows = number(each, TAG.TotalPixelMatrixRows);
    const columns = number(each, TAG.TotalPixelMatrixColumns);
    if (text(each, TAG.SOPClassUID) !== WHOLE_SLIDE || !rows || !columns) continue;
    const rank = 1 + FLAVOURS.indexOf(values(each, TAG.ImageType)[2]);
    const form = rows * columns > MOST_PIXELS ? "level" : "picture";
    levels.set(each, { rows, columns, form, rank, isWhole: number(each, TAG.NumberOfFrames) > 1, plane: each });
  }
  return [...levels.values()].some(({ form }) => form === "picture") ? levels : new Map();
}

/** The place of the level to begin with: the smallest, an overview or a label only at worst; -1 when there is none. */
export function bestLevel(frames) {
  const levels = frames.filter(({ rank, form }) => rank !== undefined && form === "picture");
  const better = (one, other) => one.rank - other.rank || one.rows * one.columns - other.rows * other.columns;
  return frames.indexOf(levels.sort(better)[0]);
}
