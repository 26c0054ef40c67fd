// A series as it is looked at: its pictures, and the metadata of the one that is shown.
import { debounced, fill, h, icon, ICONS } from "./dom.js";
import { anywhere, number, TAG, text, values } from "./dicom.js";
import { count } from "./format.js";
import { instanceUrl, isSameFrame } from "./frames.js";
import { GEOMETRY, planeAttributes } from "./geometry.js";
import { isAbort, json, ROOT } from "./http.js";
import { metadataTree, names } from "./metadata_tree.js";
import { failure } from "./notices.js";
import { everyPage } from "./pages_of_results.js";
import { QuickLook } from "./quick_look.js";
import { bestLevel, LEVELS, levelsOf } from "./slide_levels.js";
import { beginningOf, statedWindow, windowOfFrame } from "./windows.js";

const MOST_INSTANCES = 1000; // of a page of the search
const LATER = 120;
const GREY = ["PhotometricInterpretation", "SamplesPerPixel", "BitsStored", "WindowCenter", "WindowWidth"];
const ASKED = ["AvailableTransferSyntaxUID", GREY, GEOMETRY, LEVELS];
const STORAGE = "1.2.840.10008.5.1.4.1.1"; // what the UIDs of storage classes begin with
const VIDEO = /^1\.2\.840\.10008\.1\.2\.4\.10[0-8]/; // what the UIDs of transfer syntaxes of videos begin with

/** The view; `element` is to be put into the page, `series` is what is shown. */
export class StudyView {
  series = null;
  instances = 0;
  all = []; // series of the study
  tab = "picture";
  #study;
  #leave;
  #frames = [];
  #described = new Set(); // instances whose metadata was read, or cannot be
  #rated = null; // series whose rate is known
  #tree = metadataTree();
  #instance = h("p", { class: "metadata-of" });
  #trouble = h("div", {});

  constructor(study, leave) {
    this.#study = study;
    this.#leave = leave;
    const turned = debounced(LATER, () => (this.tab === "metadata" ? this.#showMetadata() : this.#describe()));
    this.look = new QuickLook(turned, leave);
    const metadata = h("div", { class: "metadata-panel" }, this.#instance, this.#tree.element);
    this.tabs = {
      picture: this.#tabOf("picture", "Picture", this.look.element),
      metadata: this.#tabOf("metadata", "Metadata", metadata),
    };
    const buttons = Object.values(this.tabs).map(({ button }) => button);
    this.element = h(
      "section",
      { class: "card study-view", "aria-label": "Series" },
      h("div", { class: "subsections", role: "tablist", "aria-label": "View" }, buttons),
      this.#trouble,
      Object.values(this.tabs).map(({ panel }) => panel),
    );
  }

  /** Show the pictures or the metadata. */
  select(name) {
    this.tab = name in this.tabs ? name : "picture";
    for (const [key, { button, panel }] of Object.entries(this.tabs)) {
      button.setAttribute("aria-selected", String(key === this.tab));
      button.tabIndex = key === this.tab ? 0 : -1;
      panel.hidden = key !== this.tab;
    }
    if (this.tab === "metadata") this.#showMetadata();
  }

  /** Look at a series; `again`, because it has grown: what is shown stays where it is. */
  async open(series, again = false) {
    this.series = series;
    this.instances = number(series, TAG.NumberOfSeriesRelatedInstances);
    const uid = text(series, TAG.SeriesInstanceUID);
    const shown = { label: labelOf(series), modality: text(series, TAG.Modality), series };
    const before = again ? this.look.frame : null;
    if (!before) this.#empty(shown);
    this.look.outlines.offer(this.#study, series, this.all);
    try {
      const url = `${ROOT}/studies/${this.#study}/series/${uid}/instances?limit=${MOST_INSTANCES}`;
      const instances = await everyPage(`${url}&includefield=${ASKED}`, this.#leave);
      if (this.series !== series) return;
      this.#frames = framesOf(this.#study, uid, instances, shown.modality);
      this.#described.clear();
      // Where it was is where the reader is by now.
      const at = before ? this.#frames.findIndex((frame) => isSameFrame(frame, this.look.frame)) : -1;
      this.look.show(this.#frames, { ...shown, at, beginning: bestLevel(this.#frames) });
      await this.#describe();
      if (this.tab === "metadata") await this.#showMetadata();
    } catch (error) {
      if (isAbort(error) || this.series !== series) return;
      // What is shown stays; the next change asks again.
      if (before) return void (this.instances = null);
      this.look.show([], shown);
      fill(
        this.#trouble,
        failure(error, () => this.series === series && this.open(series)),
      );
    }
  }

  // Until it is known what the series holds, nothing of another one is shown under its name.
  #empty(shown) {
    this.#frames = [];
    this.#rated = null;
    this.look.show([], { ...shown, waits: true });
    fill(this.#trouble);
    fill(this.#instance);
    this.#tree.element.hidden = true;
  }

  // The metadata of an instance tells what the search does not: windows of frames, and tables in the place of windows.
  async #describe() {
    const { frame } = this.look;
    if (!frame || frame.form !== "picture" || this.#described.has(frame.instance)) return;
    if (frame.window !== undefined && this.#rated === frame.series) return;
    const frames = this.#frames;
    this.#described.add(frame.instance);
    try {
      const dataset = await this.#metadataOf(frame);
      if (this.#frames !== frames) return;
      // One that has a table is rarely the only one of its series: what was found of the others does not count.
      const isTable = values(dataset, TAG.VOILUTSequence).length > 0;
      for (const each of frames) {
        if (each.instance === frame.instance) {
          each.window = windowOfFrame(dataset, each.number);
          each.plane = planeAttributes(dataset, each.number);
        } else if (isTable && !this.#described.has(each.instance)) each.window = undefined;
      }
      this.look.describe();
      if (this.#rated !== frame.series) this.#rate(dataset, frame.series);
    } catch {
      // Without it numbers may be missing; the pictures show all the same.
    }
  }

  #rate(dataset, series) {
    this.#rated = series;
    const told = anywhere(dataset, TAG.RecommendedDisplayFrameRate)[0] ?? anywhere(dataset, TAG.CineRate)[0];
    const rate = Number.parseFloat(told) || 1000 / Number.parseFloat(anywhere(dataset, TAG.FrameTime)[0]);
    if (rate > 0) this.look.suggestRate(rate);
  }

  async #showMetadata() {
    const { frame } = this.look;
    if (!frame) return;
    try {
      const [dataset, table] = await Promise.all([this.#metadataOf(frame), names()]);
      if (this.look.frame !== frame) return;
      const focused = document.activeElement?.dataset?.step;
      fill(this.#instance, this.#stepper(frame, table));
      if (focused) this.#instance.querySelector(`[data-step="${focused}"]`)?.focus();
      this.#tree.element.hidden = false;
      await this.#tree.show(dataset);
    } catch (error) {
      if (isAbort(error) || this.look.frame !== frame) return;
      fill(this.#instance, h("span", { class: "note bad" }, error.message));
    }
  }

  #stepper(frame, table) {
    const place = this.#frames.indexOf(frame);
    const step = (by, label, path) => {
      const attributes = { "aria-label": label, disabled: !this.#frames[place + by], data: { step: by } };
      const on = { click: () => this.look.turn(place + by) };
      return h("button", { type: "button", class: "button compact square", on, ...attributes }, icon(path));
    };
    const file = { href: `${instanceUrl(frame)}?accept=application/dicom`, download: `${frame.instance}.dcm` };
    return [
      step(-1, "Previous instance", ICONS.back),
      h("span", { class: "clip" }, `${count(place + 1)} of ${count(this.#frames.length)}`),
      step(1, "Next instance", ICONS.next),
      h("span", { class: "muted small clip grow" }, table.uids[frame.sopClass] ?? frame.sopClass),
      h("a", { class: "button compact", ...file }, icon(ICONS.download), "DICOM file"),
    ];
  }

  async #metadataOf(frame) {
    return (await json(`${instanceUrl(frame)}/metadata`, { signal: this.#leave }))?.[0] ?? {};
  }

  #tabOf(key, title, content) {
    const labelled = { id: `panel-${key}`, "aria-labelledby": `tab-${key}` };
    const panel = h("div", { role: "tabpanel", class: "tab-panel", ...labelled }, content);
    const button = h("button", { type: "button", role: "tab", id: `tab-${key}`, "aria-controls": panel.id }, title);
    button.addEventListener("click", () => this.select(key));
    button.addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      const other = Object.keys(this.tabs).find((each) => each !== key);
      this.select(other);
      this.tabs[other].button.focus();
    });
    return { button, panel };
  }
}

function labelOf(series) {
  const title = text(series, TAG.SeriesDescription) || text(series, TAG.Modality) || "Series";
  return [text(series, TAG.SeriesNumber), title].filter(Boolean).join(" · ");
}

// What the archive renders an instance as; asking it would be an error where there is nothing.
function formOf(sopClass, transferSyntaxes, hasPixels) {
  if (transferSyntaxes.some((uid) => VIDEO.test(uid))) return "video";
  if (hasPixels) return "picture";
  if (sopClass.startsWith(`${STORAGE}.88.`)) return "report";
  if (sopClass.startsWith(`${STORAGE}.9.`)) return "waveform";
  return sopClass.startsWith(`${STORAGE}.104.`) ? "document" : "none";
}

function framesOf(study, series, instances, modality) {
  const frames = [];
  const levels = levelsOf(instances);
  for (const each of instances) {
    const level = levels.get(each);
    const rows = number(each, TAG.Rows) ?? 0;
    const columns = number(each, TAG.Columns) ?? 0;
    const sopClass = text(each, TAG.SOPClassUID);
    const form = level?.form ?? formOf(sopClass, values(each, TAG.AvailableTransferSyntaxUID), rows > 0 && columns > 0);
    const howMany = form === "picture" && !level ? Math.max(1, number(each, TAG.NumberOfFrames) ?? 1) : 1;
    // Frames of one instance may have windows of their own, which only its metadata tells: undefined until then.
    const window = number(each, TAG.NumberOfFrames) > 1 ? undefined : (statedWindow(each) ?? undefined);
    const grey = { window, beginning: form === "picture" ? beginningOf(each, modality) : null };
    // Planes of several frames are in their functional groups, which only the metadata has.
    const plane = number(each, TAG.NumberOfFrames) > 1 ? null : each;
    const described = { sopClass, rows, columns, form, plane, instanceNumber: text(each, TAG.InstanceNumber), ...grey };
    const instance = {
      study,
      series,
      instance: text(each, TAG.SOPInstanceUID),
      frames: howMany,
      ...described,
      ...level,
    };
    for (let frame = 1; frame <= howMany; frame += 1) frames.push({ ...instance, number: frame });
  }
  return frames;
}
