// The modalities there are in the archive, with how many studies have them, to choose from.
import { h } from "./dom.js";
import { count, plural } from "./format.js";

/** Make the chips; `wanted` are those that are chosen, with commas between them. */
export function modalityChips(wanted) {
  const element = h("span", { class: "chips" });
  const known = new Map(); // modality to its chip
  const chosen = () => [...known.values()].filter(isPressed).map((chip) => chip.dataset.modality);
  const chipOf = (modality) => {
    if (!known.has(modality)) known.set(modality, chipFor(modality));
    return known.get(modality);
  };
  // Chips stay the elements they are, with the focus; those of which there is nothing any more go, unless chosen.
  const show = (counts) => {
    for (const [modality, chip] of known) if (!isPressed(chip) && !(modality in counts)) known.delete(modality);
    for (const [modality, studies] of Object.entries(counts)) label(chipOf(modality), modality, studies);
    const order = [...Object.keys(counts), ...[...known.keys()].filter((modality) => !(modality in counts))];
    const chips = order.map(chipOf);
    for (const chip of [...element.children]) if (!chips.includes(chip)) chip.remove();
    // What stays where it is is not touched: a chip that is put in again loses the focus.
    chips.forEach((chip, at) => element.children[at] === chip || element.insertBefore(chip, element.children[at]));
  };
  const choose = (modalities) => {
    const names = modalities.split(",").filter(Boolean);
    for (const name of names) if (!known.has(name)) element.append(chipOf(name));
    for (const [name, chip] of known) chip.setAttribute("aria-pressed", String(names.includes(name)));
  };
  choose(wanted);
  return {
    element,
    show,
    choose,
    chosen: () => chosen().join(","),
    turn: (chip) => chip.setAttribute("aria-pressed", String(!isPressed(chip))),
  };
}

function chipFor(modality) {
  const named = { "aria-pressed": "false", "aria-label": modality, data: { modality } };
  return h("button", { type: "button", class: "chip", ...named }, modality);
}

function isPressed(chip) {
  return chip.getAttribute("aria-pressed") === "true";
}

function label(chip, modality, studies) {
  if (chip.dataset.studies === String(studies)) return;
  chip.dataset.studies = String(studies);
  chip.title = plural(studies, "study", "studies");
  chip.replaceChildren(modality, " ", h("span", { class: "chip-count" }, count(studies)));
}
