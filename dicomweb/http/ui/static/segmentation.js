// Segmentations (PS3.3 A.51): masks of segments in frames of their own, over the images they lie in.
import { number, TAG, text, values } from "./dicom.js";
import { instanceUrl } from "./frames.js";
import { attributesOfFrame } from "./functional_groups.js";
import { dot, planeAttributes, planeOf, pointAt, projected } from "./geometry.js";
import { request } from "./http.js";
import { outlineOf } from "./mask_outline.js";
import { referencesOf, referTo } from "./references.js";

const PARALLEL = 0.999;
const NATIVE = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1";
const MOST_KEPT = 128; // frames whose outlines are remembered

/** The segments of a segmentation as layers: {name, colour, drawn(frame, plane, reach)}. */
export function segmentLayers(dataset, place, signal) {
  const kind = text(dataset, TAG.SegmentationType);
  const masks = masksOf(dataset, kind);
  const frames = new MaskFrames(dataset, place, signal);
  const padding = number(dataset, TAG.PixelPaddingValue) ?? 0;
  return values(dataset, TAG.SegmentSequence)
    .map((segment) => ({ segment, label: number(segment, TAG.SegmentNumber) }))
    .filter(({ label }) => kind !== "LABELMAP" || (label !== padding && label !== 0))
    .map(({ segment, label }) => ({
      name: text(segment, TAG.SegmentLabel) || `Segment ${label}`,
      colour: colourOf(values(segment, TAG.RecommendedDisplayCIELabValue)),
      drawn: async (frame, plane, reach) => {
        const found = masks.filter((mask) => mask.segment === label || kind === "LABELMAP");
        const drawn = found.map(async (mask) => {
          const matrix = matrixOf(mask, dataset, frame, plane, reach);
          const path = matrix && (await frames.outline(mask.number, label));
          return path ? { path, matrix } : null;
        });
        return (await Promise.all(drawn)).filter(Boolean);
      },
    }));
}

// Each frame: whose mask it is, where it lies, and of which images it was made.
function masksOf(dataset, kind) {
  const length = Math.max(1, number(dataset, TAG.NumberOfFrames) ?? 1);
  return Array.from({ length }, (_, index) => {
    const groups = [TAG.SegmentIdentificationSequence, TAG.DerivationImageSequence];
    const attributes = attributesOfFrame(dataset, index + 1, groups);
    const sources = referencesOf(values(attributes, TAG.SourceImageSequence));
    const segment = kind === "LABELMAP" ? null : number(attributes, TAG.ReferencedSegmentNumber);
    return { number: index + 1, segment, sources, plane: planeOf(planeAttributes(dataset, index + 1)) };
  });
}

// What takes pixels of a mask, from its edge, to those of a picture, from the middle of the first; null elsewhere.
function matrixOf(mask, dataset, frame, plane, reach) {
  const isSource = referTo(mask.sources, frame);
  if (mask.plane && plane) {
    const isSamePatient = isSource || (plane.reference !== "" && plane.reference === mask.plane.reference);
    return isSamePatient && Math.abs(dot(mask.plane.normal, plane.normal)) > PARALLEL
      ? between(mask.plane, plane, reach)
      : null;
  }
  const isSameSize =
    number(dataset, TAG.Rows) === frame.rows && number(dataset, TAG.Columns) === frame.columns && !mask.plane && !plane;
  return isSource && isSameSize ? [1, 0, 0, 1, -0.5, -0.5] : null;
}

function between(mask, plane, reach) {
  const [origin, right, down] = [
    [-0.5, -0.5],
    [0.5, -0.5],
    [-0.5, 0.5],
  ].map(([column, row]) => projected(plane, pointAt(mask, column, row)));
  if (Math.abs(projected(plane, mask.position).distance) >= reach) return null;
  const step = (to) => [to.column - origin.column, to.row - origin.row];
  return [...step(right), ...step(down), origin.column, origin.row];
}

// Frames as the archive has them, each fetched when it is looked at, and made to outlines of its segments.
class MaskFrames {
  #kept = new Map();
  #url;
  #signal;
  #shape;

  constructor(dataset, place, signal) {
    this.#url = instanceUrl({ ...place, instance: text(dataset, TAG.SOPInstanceUID) });
    this.#signal = signal;
    const most = number(dataset, TAG.MaximumFractionalValue) ?? 255;
    this.#shape = {
      rows: number(dataset, TAG.Rows),
      columns: number(dataset, TAG.Columns),
      bits: number(dataset, TAG.BitsAllocated),
      kind: text(dataset, TAG.SegmentationType),
      half: most / 2,
    };
  }

  async outline(frame, label) {
    const { rows, columns, kind, half } = this.#shape;
    const key = `${frame} ${kind === "LABELMAP" ? label : ""}`;
    if (!this.#kept.has(key)) {
      const made = this.#values(frame).then((found) => {
        // Of what is probable or occupied in part, what is so at least by half.
        const isIn = { LABELMAP: (value) => value === label, FRACTIONAL: (value) => value >= half }[kind] ?? Boolean;
        return outlineOf((place) => isIn(found(place)), rows, columns);
      });
      made.catch(() => this.#kept.delete(key));
      this.#keep(key, made);
    }
    return this.#kept.get(key);
  }

  // One fetch for all the labels of a frame.
  #values(frame) {
    const key = `values ${frame}`;
    if (!this.#kept.has(key)) {
      const asked = request(`${this.#url}/frames/${frame}`, { signal: this.#signal, headers: { Accept: NATIVE } });
      const made = asked.then((response) => response.arrayBuffer()).then((buffer) => this.#reader(buffer));
      made.catch(() => this.#kept.delete(key));
      this.#keep(key, made);
    }
    return this.#kept.get(key);
  }

  // A frame of single bits begins with the lowest of its first byte, wherever it is in the instance (PS3.18 8.7.3.3.1).
  #reader(buffer) {
    const { bits } = this.#shape;
    const data = new DataView(buffer);
    if (bits === 1) return (place) => (data.getUint8(place >> 3) >> (place & 7)) & 1;
    return bits === 16 ? (place) => data.getUint16(2 * place, true) : (place) => data.getUint8(place);
  }

  #keep(key, made) {
    this.#kept.set(key, made);
    if (this.#kept.size > MOST_KEPT) this.#kept.delete(this.#kept.keys().next().value);
  }
}

// PS3.3 C.10.7.1.1: L* from 0 to 100, a* and b* from -128 to 127, all of 16 bits; of the white point that CSS has, D50.
function colourOf(encoded) {
  const [light, a, b] = encoded.map((value) => Number(value) / 65535);
  return encoded.length === 3 ? `lab(${light * 100} ${a * 255 - 128} ${b * 255 - 128})` : null;
}
