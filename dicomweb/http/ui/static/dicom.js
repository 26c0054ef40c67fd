// Values of DICOM JSON (PS3.18 Annex F) as people read them. Whatever comes in, nothing here throws.
import { h } from "./dom.js";

/** Tags of the attributes these pages show. */
export const TAG = {
  ImageType: "00080008",
  SOPClassUID: "00080016",
  SOPInstanceUID: "00080018",
  StudyDate: "00080020",
  StudyTime: "00080030",
  AccessionNumber: "00080050",
  ReferencedSOPInstanceUID: "00081155",
  ReferencedFrameNumber: "00081160",
  SourceImageSequence: "00082112",
  AvailableTransferSyntaxUID: "00083002",
  Modality: "00080060",
  ModalitiesInStudy: "00080061",
  ReferringPhysicianName: "00080090",
  StudyDescription: "00081030",
  SeriesDescription: "0008103E",
  RetrieveURL: "00081190",
  DerivationImageSequence: "00089124",
  PatientName: "00100010",
  PatientID: "00100020",
  PatientBirthDate: "00100030",
  PatientSex: "00100040",
  PatientAge: "00101010",
  AnatomicalOrientationType: "00102210",
  BodyPartExamined: "00180015",
  CineRate: "00180040",
  FrameTime: "00181063",
  RecommendedDisplayFrameRate: "00082144",
  ImagerPixelSpacing: "00181164",
  NominalScannedPixelSpacing: "00182010",
  StudyInstanceUID: "0020000D",
  SeriesInstanceUID: "0020000E",
  SeriesNumber: "00200011",
  InstanceNumber: "00200013",
  PatientOrientation: "00200020",
  ImagePositionPatient: "00200032",
  ImageOrientationPatient: "00200037",
  FrameOfReferenceUID: "00200052",
  NumberOfStudyRelatedSeries: "00201206",
  NumberOfStudyRelatedInstances: "00201208",
  NumberOfSeriesRelatedInstances: "00201209",
  PlanePositionSequence: "00209113",
  PlaneOrientationSequence: "00209116",
  SamplesPerPixel: "00280002",
  PhotometricInterpretation: "00280004",
  NumberOfFrames: "00280008",
  Rows: "00280010",
  Columns: "00280011",
  PixelSpacing: "00280030",
  PixelAspectRatio: "00280034",
  BitsAllocated: "00280100",
  BitsStored: "00280101",
  PixelPaddingValue: "00280120",
  WindowCenter: "00281050",
  WindowWidth: "00281051",
  VOILUTSequence: "00283010",
  PixelMeasuresSequence: "00289110",
  RequestedProcedureDescription: "00321060",
  ScheduledStationAETitle: "00400001",
  ScheduledProcedureStepStartDate: "00400002",
  ScheduledProcedureStepStartTime: "00400003",
  ScheduledProcedureStepDescription: "00400007",
  ScheduledProcedureStepID: "00400009",
  ScheduledProcedureStepStatus: "00400020",
  ScheduledProcedureStepSequence: "00400100",
  RequestedProcedureID: "00401001",
  FrameVOILUTSequence: "00289132",
  TotalPixelMatrixColumns: "00480006",
  TotalPixelMatrixRows: "00480007",
  SegmentationType: "00620001",
  SegmentSequence: "00620002",
  SegmentNumber: "00620004",
  SegmentLabel: "00620005",
  SegmentIdentificationSequence: "0062000A",
  ReferencedSegmentNumber: "0062000B",
  RecommendedDisplayCIELabValue: "0062000D",
  MaximumFractionalValue: "0062000E",
  StructureSetLabel: "30060002",
  ContourImageSequence: "30060016",
  StructureSetROISequence: "30060020",
  ROINumber: "30060022",
  ReferencedFrameOfReferenceUID: "30060024",
  ROIName: "30060026",
  ROIDisplayColor: "3006002A",
  ROIContourSequence: "30060039",
  ContourSequence: "30060040",
  ContourGeometricType: "30060042",
  ContourData: "30060050",
  ReferencedROINumber: "30060084",
  SharedFunctionalGroupsSequence: "52009229",
  PerFrameFunctionalGroupsSequence: "52009230",
};

/** All values of an attribute, as they stand. */
export function values(dataset, tag) {
  const found = dataset?.[tag]?.Value;
  return Array.isArray(found) ? found : [];
}

/** The first value as text; empty when there is none. */
export function text(dataset, tag) {
  const value = values(dataset, tag).find((each) => each !== null && each !== undefined);
  if (value === undefined) return "";
  return typeof value === "object" ? (value.Alphabetic ?? value.Ideographic ?? value.Phonetic ?? "") : String(value);
}

/** The first value as a number, or null. */
export function number(dataset, tag) {
  const found = Number.parseFloat(text(dataset, tag));
  return Number.isFinite(found) ? found : null;
}

/** "20040119" as "2004-01-19"; what is no date stays as it is. */
export function date(value) {
  const found = /^(\d{4})[.-]?(\d\d)[.-]?(\d\d)$/.exec(String(value).trim());
  return found ? `${found[1]}-${found[2]}-${found[3]}` : String(value);
}

/** "072730.000" as "07:27"; what is no time stays as it is. */
export function time(value) {
  const found = /^(\d\d):?(\d\d)?/.exec(String(value).trim());
  return found ? `${found[1]}:${found[2] ?? "00"}` : String(value);
}

/** A component group "Family^Given^Middle^Prefix^Suffix" as people write it. */
export function nameGroup(group, ideographic = false) {
  const [family = "", given = "", middle = "", prefix = "", suffix = ""] = String(group ?? "")
    .split("^")
    .map((part) => part.trim());
  const first = [prefix, given, middle].filter(Boolean).join(" ");
  if (ideographic) return [family, given, middle].filter(Boolean).join(" ");
  return [family, first, suffix].filter(Boolean).join(", ");
}

/** The groups of a name: what to show first, and others that say it in another script. */
export function personName(dataset, tag = TAG.PatientName) {
  const value = values(dataset, tag)[0];
  const groups = typeof value === "object" && value !== null ? value : { Alphabetic: value };
  const alphabetic = nameGroup(groups.Alphabetic);
  const ideographic = nameGroup(groups.Ideographic, true);
  const phonetic = nameGroup(groups.Phonetic, true);
  const all = [alphabetic, ideographic, phonetic].filter(Boolean);
  return { main: all[0] ?? "", others: alphabetic && ideographic ? [ideographic] : [] };
}

/** The name as an element: `bdi`, since a name may be written from right to left. */
export function nameElement(dataset, tag = TAG.PatientName) {
  const { main, others } = personName(dataset, tag);
  if (!main) return h("span", { class: "no-name" }, "No name");
  return h(
    "span",
    { class: "name" },
    h("bdi", {}, main),
    others.map((other) => h("bdi", { class: "name-other" }, other)),
  );
}

/** "F" as "Female". */
export function sex(value) {
  return { F: "Female", M: "Male", O: "Other" }[value] ?? value;
}

/** The values of an attribute anywhere in a data set, the first found in order. */
export function anywhere(dataset, tag, depth = 0) {
  if (!dataset || typeof dataset !== "object" || depth > 8) return [];
  if (values(dataset, tag).length) return values(dataset, tag);
  for (const element of Object.values(dataset)) {
    if (element?.vr !== "SQ" || !Array.isArray(element.Value)) continue;
    for (const item of element.Value.slice(0, 4)) {
      const found = anywhere(item, tag, depth + 1);
      if (found.length) return found;
    }
  }
  return [];
}
