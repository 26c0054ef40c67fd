// Structure sets (PS3.3 A.19): contours of regions, in millimetres of the patient, over the images they were drawn on.
import { number, TAG, text, values } from "./dicom.js";
import { projected } from "./geometry.js";
import { request, ROOT } from "./http.js";
import { referencesOf, referTo } from "./references.js";

const CLOSED = new Set(["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"]);

/** The regions of a structure set as layers: {name, colour, drawn(frame, plane, reach)}. */
export async function structureLayers(dataset, signal) {
  const regions = new Map(
    values(dataset, TAG.StructureSetROISequence).map((each) => [number(each, TAG.ROINumber), each]),
  );
  const layers = [];
  for (const drawn of values(dataset, TAG.ROIContourSequence)) {
    const region = regions.get(number(drawn, TAG.ReferencedROINumber));
    const contours = await Promise.all(
      values(drawn, TAG.ContourSequence).map((each) => contourOf(each, signal).catch(() => null)),
    );
    const reference = text(region, TAG.ReferencedFrameOfReferenceUID);
    const colour = values(drawn, TAG.ROIDisplayColor).map(Number);
    layers.push({
      name: text(region, TAG.ROIName) || `Region ${text(drawn, TAG.ReferencedROINumber)}`,
      colour: colour.length === 3 ? `rgb(${colour.join(" ")})` : null,
      drawn: (frame, plane, reach) => pathsOf(contours, reference, frame, plane, reach),
    });
  }
  return layers;
}

async function contourOf(contour, signal) {
  const written = contour[TAG.ContourData];
  const numbers = written?.BulkDataURI
    ? (await bulkText(written.BulkDataURI, signal)).split("\\").map(Number.parseFloat)
    : values(contour, TAG.ContourData).map(Number.parseFloat);
  if (!numbers.length || numbers.length % 3 || !numbers.every(Number.isFinite)) return null;
  const points = Array.from({ length: numbers.length / 3 }, (_, place) => numbers.slice(3 * place, 3 * place + 3));
  const images = referencesOf(values(contour, TAG.ContourImageSequence));
  return { points, images, isClosed: CLOSED.has(text(contour, TAG.ContourGeometricType)) };
}

// Where a contour is says its points; the reference tells what coordinates they are in when their frame of reference
// is not that of the image.
function pathsOf(contours, reference, frame, plane, reach) {
  if (!plane) return [];
  return contours
    .filter((contour) => contour && (referTo(contour.images, frame) || (reference && reference === plane.reference)))
    .map((contour) => pathOf(contour, plane, reach))
    .filter(Boolean);
}

// The pages and the address that the archive knows itself by need not be the same.
async function bulkText(uri, signal) {
  const address = ROOT + uri.slice(uri.indexOf("/studies/"));
  return (await request(address, { signal, headers: { Accept: "application/octet-stream" } })).text();
}

function pathOf({ points, isClosed }, plane, reach) {
  const isNear = ({ distance }) => Math.abs(distance) < reach;
  if (!isNear(projected(plane, points[0]))) return null; // as most are
  const places = points.map((point) => projected(plane, point));
  if (!places.every(isNear)) return null;
  const at = ({ column, row }) => `${round(column)} ${round(row)}`;
  // A point alone is a dot: a line as long as nothing with round ends.
  const line = places.slice(places.length > 1 ? 1 : 0).map((place) => `L${at(place)}`);
  return { path: `M${at(places[0])}${line.join("")}${isClosed ? "Z" : ""}`, matrix: null };
}

function round(value) {
  return Math.round(value * 1000) / 1000;
}
