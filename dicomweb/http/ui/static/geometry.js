// Where a frame lies: its plane in the patient, and the shape of its pixels (PS3.3 C.7.6.2, C.7.6.16.2).
import { attributesOfFrame } from "./functional_groups.js";
import { TAG, text, values } from "./dicom.js";

const MACROS = [TAG.PlaneOrientationSequence, TAG.PlanePositionSequence, TAG.PixelMeasuresSequence];
const SPACINGS = [TAG.PixelSpacing, TAG.ImagerPixelSpacing, TAG.NominalScannedPixelSpacing, TAG.PixelAspectRatio];
const NEARLY = 0.01; // how far a direction cosine may be off, as scanners round them
const MOST_UNEQUAL = 20;

/** What is asked for of instances, so that most need no look at their metadata. */
export const GEOMETRY = `ImageOrientationPatient,ImagePositionPatient,PatientOrientation,AnatomicalOrientationType,
  PixelSpacing,ImagerPixelSpacing,NominalScannedPixelSpacing,PixelAspectRatio,FrameOfReferenceUID`.replace(/\s/g, "");

/** The attributes of the plane of one frame at one level. */
export function planeAttributes(dataset, frame) {
  return attributesOfFrame(dataset, frame, MACROS);
}

/** Directions of rows and columns as unit vectors {row, column}; null when they are not said, or make no sense. */
export function directionsOf(dataset) {
  const cosines = numbers(dataset, TAG.ImageOrientationPatient, 6);
  if (!cosines) return null;
  const [row, column] = [cosines.slice(0, 3), cosines.slice(3)];
  const isUnit = (vector) => Math.abs(Math.hypot(...vector) - 1) < NEARLY;
  return isUnit(row) && isUnit(column) && Math.abs(dot(row, column)) < NEARLY ? { row, column } : null;
}

/** The plane of a frame: position, row, column, normal, spacing [between rows, between columns] in mm; or null. */
export function planeOf(attributes) {
  const directions = directionsOf(attributes);
  const position = numbers(attributes, TAG.ImagePositionPatient, 3);
  const spacing = numbers(attributes, TAG.PixelSpacing, 2);
  if (!directions || !position || !spacing || Math.min(...spacing) <= 0) return null;
  const normal = cross(directions.row, directions.column);
  return { ...directions, position, normal, spacing, reference: text(attributes, TAG.FrameOfReferenceUID) };
}

/** A point of the patient as {column, row, distance}: in pixels from the middle of the first one, and in mm. */
export function projected(plane, point) {
  const from = point.map((value, axis) => value - plane.position[axis]);
  return {
    column: dot(from, plane.row) / plane.spacing[1],
    row: dot(from, plane.column) / plane.spacing[0],
    distance: dot(from, plane.normal),
  };
}

/** The point of the patient at a place of the picture, in pixels from the middle of the first one. */
export function pointAt(plane, column, row) {
  const along = (axis) => plane.row[axis] * column * plane.spacing[1] + plane.column[axis] * row * plane.spacing[0];
  return plane.position.map((value, axis) => value + along(axis));
}

/** Height of a pixel divided by its width; 1 when it is not said, as the archive has it. */
export function pixelAspect(attributes) {
  for (const tag of SPACINGS) {
    const spacing = numbers(attributes, tag, 2);
    if (!spacing || Math.min(...spacing) <= 0) continue;
    const aspect = spacing[0] / spacing[1];
    return aspect >= 1 / MOST_UNEQUAL && aspect <= MOST_UNEQUAL ? aspect : 1;
  }
  return 1;
}

/** The scalar product of two vectors. */
export function dot(one, other) {
  return one.reduce((sum, value, axis) => sum + value * other[axis], 0);
}

function cross([a, b, c], [d, e, f]) {
  return [b * f - c * e, c * d - a * f, a * e - b * d];
}

function numbers(dataset, tag, length) {
  const found = values(dataset, tag).slice(0, length).map(Number.parseFloat);
  return found.length === length && found.every(Number.isFinite) ? found : null;
}
