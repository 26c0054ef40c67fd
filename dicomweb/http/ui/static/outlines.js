// Outlines of segments and regions over the pictures they belong to, with a legend; fetched when they are asked for.
import { number, TAG, text } from "./dicom.js";
import { fill, h, shape } from "./dom.js";
import { dot, planeOf } from "./geometry.js";
import { isAbort, json, ROOT } from "./http.js";
import { mentions } from "./references.js";
import { segmentLayers } from "./segmentation.js";
import { structureLayers } from "./structures.js";

const DRAWN = new Set(["SEG", "RTSTRUCT"]);
const MOST_OBJECTS = 20;
const CLOSE = 0.5; // mm from the plane of a picture that is alone
const COLOURS = ["#ff6b6b", "#ffd93d", "#6bff95", "#4dd8ff", "#c58bff", "#ff9f40", "#ff7ac6", "#b8e986"];

/** The outlines of a quick look: a `button` to switch them, a `legend`, and a `drawing` over the picture. */
export class Outlines {
  #parts;
  #study = "";
  #sources = []; // UIDs of the series that hold them
  #series = null;
  #frames = [];
  #frame = null;
  #groups = null; // of layers, once they are fetched
  #hidden = new Set();
  #isOn = false;
  #leave;

  constructor(parts, leave) {
    this.#parts = parts;
    this.#leave = leave;
    parts.button.addEventListener("click", () => this.#switch(!this.#isOn));
  }

  /** Say what is looked at, and all the series of its study; nothing of what was looked at before stays. */
  offer(study, series, all) {
    const uid = (each) => text(each, TAG.SeriesInstanceUID);
    const isDrawn = (each) => DRAWN.has(text(each, TAG.Modality));
    const sources = isDrawn(series) ? [] : all.filter(isDrawn).map(uid);
    if (uid(series) === this.#series && sources.join() === this.#sources.join()) return;
    this.#parts.button.hidden = !sources.length;
    this.#study = study;
    this.#series = uid(series);
    this.#sources = sources;
    this.#groups = null;
    this.#hidden.clear();
    this.#switch(false);
  }

  /** The frames of the series, which tell how far from a picture is another one. */
  among(frames) {
    this.#frames = frames;
    this.#draw();
  }

  /** Draw over a frame that is painted now; null for none. */
  show(frame) {
    if (frame === this.#frame) return;
    this.#frame = frame;
    this.#draw();
  }

  #switch(isOn) {
    this.#isOn = isOn;
    this.#parts.button.setAttribute("aria-pressed", String(isOn));
    this.#parts.legend.hidden = !isOn;
    if (isOn && !this.#groups) this.#fetch();
    this.#draw();
  }

  async #fetch() {
    const series = this.#series;
    fill(this.#parts.legend, h("p", {}, "Loading…"));
    try {
      const found = await this.#objects();
      if (series !== this.#series) return;
      this.#groups = found;
      this.#tell();
      this.#draw();
    } catch (error) {
      if (!isAbort(error) && series === this.#series) fill(this.#parts.legend, h("p", {}, error.message));
    }
  }

  async #objects() {
    const here = new Set([this.#series, ...this.#frames.map(({ instance }) => instance)]);
    for (const { plane } of this.#frames) if (plane) here.add(text(plane, TAG.FrameOfReferenceUID));
    here.delete("");
    const groups = [];
    for (const uid of this.#sources) {
      const path = `${ROOT}/studies/${this.#study}/series/${uid}`;
      const options = { signal: this.#leave };
      const instances = (await json(`${path}/instances?limit=${MOST_OBJECTS}`, options)) ?? [];
      for (const instance of instances.slice(0, MOST_OBJECTS - groups.length)) {
        const [dataset] = await json(`${path}/instances/${text(instance, TAG.SOPInstanceUID)}/metadata`, options);
        if (!mentions(dataset, here)) continue;
        const isSegments = text(dataset, TAG.Modality) === "SEG";
        const layers = isSegments
          ? segmentLayers(dataset, { study: this.#study, series: uid }, this.#leave)
          : await structureLayers(dataset, this.#leave);
        if (layers.length) groups.push({ title: titleOf(dataset), layers });
      }
    }
    const layers = groups.flatMap((group) => group.layers);
    for (const [place, layer] of layers.entries()) layer.colour ??= COLOURS[place % COLOURS.length];
    return groups;
  }

  #tell() {
    const item = (layer) => {
      const box = h("input", { type: "checkbox", checked: true });
      box.addEventListener("change", () => {
        this.#hidden[box.checked ? "delete" : "add"](layer);
        this.#draw();
      });
      const colour = h("span", { class: "swatch" });
      colour.style.background = layer.colour;
      return h("label", {}, box, colour, h("span", { class: "clip" }, layer.name));
    };
    const groups = this.#groups.map(({ title, layers }) => [
      h("p", { class: "legend-title" }, title),
      layers.map(item),
    ]);
    fill(this.#parts.legend, groups.length ? groups : h("p", {}, "Nothing in this study is drawn on this series."));
  }

  async #draw() {
    const { drawing } = this.#parts;
    const frame = this.#frame;
    drawing.replaceChildren();
    if (!this.#isOn || !this.#groups || !frame) return;
    const layers = this.#groups.flatMap((group) => group.layers).filter((layer) => !this.#hidden.has(layer));
    const plane = frame.plane && planeOf(frame.plane);
    const reach = reachOf(this.#frames, plane);
    const mark = (this.mark = {});
    const drawn = await Promise.all(
      layers.map(async (layer) => {
        try {
          return (await layer.drawn(frame, plane, reach)).map((each) => pathOf(each, layer));
        } catch (error) {
          if (!isAbort(error) && mark === this.mark) fill(this.#parts.legend, h("p", {}, error.message));
          return [];
        }
      }),
    );
    // By now another frame may be looked at.
    if (mark !== this.mark || frame !== this.#frame || !this.#isOn) return;
    drawing.setAttribute("viewBox", `-0.5 -0.5 ${frame.columns} ${frame.rows}`);
    drawing.replaceChildren(...drawn.flat());
  }
}

function pathOf({ path, matrix }, layer) {
  const transform = matrix ? { transform: `matrix(${matrix.join(" ")})` } : {};
  const made = shape("path", { d: path, class: "outline", "data-name": layer.name, ...transform });
  made.style.stroke = layer.colour;
  return made;
}

function titleOf(dataset) {
  const title =
    text(dataset, TAG.SeriesDescription) || text(dataset, TAG.StructureSetLabel) || text(dataset, TAG.Modality);
  return [number(dataset, TAG.SeriesNumber), title].filter((part) => part !== null && part !== "").join(" · ");
}

// Half the way to the nearest other picture: what is nearer to that one is drawn there.
function reachOf(frames, plane) {
  if (!plane) return CLOSE;
  const planes = frames.map((frame) => frame.plane && planeOf(frame.plane)).filter(Boolean);
  const places = planes.map(({ position }) => dot(position, plane.normal)).sort((one, other) => one - other);
  const gaps = places.slice(1).map((place, before) => place - places[before]);
  const nearest = Math.min(...gaps.filter((gap) => gap > 0.01));
  return Number.isFinite(nearest) ? nearest / 2 : CLOSE;
}
