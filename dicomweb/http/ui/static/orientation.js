// Letters at the edges of a picture: where in the patient each side points (PS3.3 C.7.6.1.1.1, C.7.6.2.1.1).
//
// A wrong letter is worse than none: what is not said, or makes no sense, has none.
import { directionsOf } from "./geometry.js";
import { TAG, text, values } from "./dicom.js";

const AXES = ["LR", "PA", "HF"]; // where x, y and z grow to, and where they come from
const OPPOSITE = { A: "P", P: "A", R: "L", L: "R", H: "F", F: "H" };
const OF_ANIMALS = /^(LE|RT|CR|CD|PR|DI|PA|PL|D|V|R|M|L)(-?(LE|RT|CR|CD|PR|DI|PA|PL|D|V|R|M|L)){0,2}$/;
// Dorsal faces ventral, palmar or plantar, and caudal faces cranial or rostral: which of them is not said.
const OPPOSITE_OF_ANIMALS = Object.fromEntries(
  "LE RT,RT LE,M L,L M,PR DI,DI PR,V D,PA D,PL D,CR CD,R CD".split(",").map((pair) => pair.split(" ")),
);
const LEAST = 0.05; // what a direction leans less than this, some three degrees, is no direction of it

/** The letters of a picture by its edge: {right, left, bottom, top}, "" where it is not known. */
export function edgesOf(attributes) {
  const isAnimal = text(attributes, TAG.AnatomicalOrientationType).trim() === "QUADRUPED";
  const directions = directionsOf(attributes);
  const written = values(attributes, TAG.PatientOrientation).map((value) => String(value ?? "").trim());
  if (isAnimal) return edges(writtenOfAnimal(written) ?? sidesOfAnimal(directions), oppositeOfAnimal);
  if (directions) return edges([lettersOf(directions.row), lettersOf(directions.column)], opposite);
  return edges(
    [0, 1].map((place) => (isSensible(written[place]) ? written[place] : "")),
    opposite,
  );
}

/** The letters of a direction in the patient, the main one first. */
export function lettersOf(direction) {
  return direction
    .map((value, axis) => ({ size: Math.abs(value), letter: AXES[axis][value > 0 ? 0 : 1] }))
    .filter(({ size }) => size >= LEAST)
    .sort((one, other) => other.size - one.size)
    .map(({ letter }) => letter)
    .join("");
}

function edges([right, bottom], turned) {
  return { right, left: turned(right), bottom, top: turned(bottom) };
}

function opposite(letters) {
  return [...letters].map((letter) => OPPOSITE[letter]).join("");
}

// Up to three letters, each of another axis.
function isSensible(letters) {
  if (!letters || !/^[APRLHF]{1,3}$/.test(letters)) return false;
  return AXES.every((axis) => [...letters].filter((letter) => axis.includes(letter)).length <= 1);
}

function writtenOfAnimal(written) {
  return written.some((value) => OF_ANIMALS.test(value))
    ? [0, 1].map((place) => (OF_ANIMALS.test(written[place] ?? "") ? written[place] : ""))
    : null;
}

// What y and z mean differs between trunk, head and limbs of an animal; x grows to the left in all of them.
function sidesOfAnimal(directions) {
  const side = (direction) => (Math.abs(direction?.[0] ?? 0) > 1 - LEAST ? (direction[0] > 0 ? "LE" : "RT") : "");
  return [side(directions?.row), side(directions?.column)];
}

// Several directions in one are not turned round: some of them may not be known.
function oppositeOfAnimal(letters) {
  return OPPOSITE_OF_ANIMALS[letters] ?? "";
}
