// Windows: what part of the values is shown from black to white (PS3.3 C.11.2).
import { number, TAG, text, values } from "./dicom.js";
import { attributesOfFrame } from "./functional_groups.js";

const OF_CT = [
  ["Soft tissue", 40, 400],
  ["Lung", -600, 1500],
  ["Bone", 400, 1800],
  ["Brain", 40, 80],
  ["Liver", 60, 160],
  ["Mediastinum", 50, 350],
  ["Angiography", 300, 600],
];

// Of other modalities values mean nothing by themselves: presets are relative to the window of the image.
const RELATIVE = [
  ["More contrast", 0, 0.5],
  ["Less contrast", 0, 2],
  ["Brighter", -0.25, 1],
  ["Darker", 0.25, 1],
];

const COLOUR = /^(RGB|YBR|PALETTE)/;

/** Where a window of one's own may begin when the image has none; null for colour, and what is no image. */
export function beginningOf(dataset, modality) {
  const colour = COLOUR.test(text(dataset, TAG.PhotometricInterpretation));
  if (colour || !number(dataset, TAG.Rows) || (number(dataset, TAG.SamplesPerPixel) ?? 1) > 1) return null;
  const range = 2 ** Math.min(16, number(dataset, TAG.BitsStored) ?? 8);
  return modality === "CT" ? { center: 40, width: 400 } : { center: range / 2, width: range };
}

/** The window that attributes say a picture is shown with: the first that can be used; null when they say none. */
export function statedWindow(dataset) {
  // A table goes before windows.
  if (values(dataset, TAG.VOILUTSequence).length) return null;
  const widths = values(dataset, TAG.WindowWidth).map(Number.parseFloat);
  const centers = values(dataset, TAG.WindowCenter).map(Number.parseFloat);
  const first = widths.findIndex((width, place) => width > 0 && Number.isFinite(centers[place]));
  // Those of fractions are shown by another function, and their numbers would be rounded away.
  return widths[first] >= 1 ? { center: centers[first], width: widths[first] } : null;
}

/** The window of one frame: its own functional group goes before the shared one, and both before the instance. */
export function windowOfFrame(dataset, frame) {
  return statedWindow(attributesOfFrame(dataset, frame, [TAG.FrameVOILUTSequence]));
}

/** Presets of a modality: [name, window]. */
export function presetsOf(modality, base) {
  if (!base) return [];
  if (modality === "CT") return OF_CT.map(([name, center, width]) => [name, { center, width }]);
  return RELATIVE.map(([name, shift, stretch]) => [
    name,
    { center: base.center + shift * base.width, width: Math.max(1, base.width * stretch) },
  ]);
}

/** A window after a drag of so many pixels: to the right wider, downwards lower. */
export function dragged(window, right, down) {
  const width = Math.max(1, window.width * Math.exp(right / 250));
  return { center: window.center + (down * Math.max(window.width, 8)) / 300, width };
}
