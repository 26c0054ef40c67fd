// Windows: what part of the values is shown from black to white (PS3.3 C.11.2).
import { anywhere, number, TAG, text } from "./dicom.js";

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

/** The window an image is shown with when nobody chooses one; null for colour, and what is no image. */
export function windowOf(dataset) {
  const colour = COLOUR.test(text(dataset, TAG.PhotometricInterpretation));
  if (colour || !number(dataset, TAG.Rows) || (number(dataset, TAG.SamplesPerPixel) ?? 1) > 1) return null;
  const center = Number.parseFloat(anywhere(dataset, TAG.WindowCenter)[0]);
  const width = Number.parseFloat(anywhere(dataset, TAG.WindowWidth)[0]);
  if (Number.isFinite(center) && width >= 1) return { center, width };
  // Nothing is said: the range that is stored is where to begin.
  const range = 2 ** Math.min(16, number(dataset, TAG.BitsStored) ?? 8);
  return text(dataset, TAG.Modality) === "CT" ? { center: 40, width: 400 } : { center: range / 2, width: range };
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
