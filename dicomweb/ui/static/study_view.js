// A series as it is looked at: its pictures, and the metadata of the one that is shown.
import { debounced, fill, h, icon, ICONS } from "./dom.js";
import { anywhere, number, TAG, text, values } from "./dicom.js";
import { count } from "./format.js";
import { instanceUrl } from "./frames.js";
import { isAbort, json, ROOT } from "./http.js";
import { metadataTree, names } from "./metadata_tree.js";
import { failure } from "./notices.js";
import { everyPage } from "./pages_of_results.js";
import { QuickLook } from "./quick_look.js";

const MOST_INSTANCES = 1000; // of a page of the search
const LATER = 120;
const STORAGE = "1.2.840.10008.5.1.4.1.1"; // what the UIDs of storage classes begin with
const VIDEO = /^1\.2\.840\.10008\.1\.2\.4\.10[0-8]/; // what the UIDs of transfer syntaxes of videos begin with

/** The view; `element` is to be put into the page, `series` is what is shown. */
export class StudyView {
  series = null;
  instances = 0;
  tab = "picture";
  #study;
  #leave;
  #frames = [];
  #described = null;
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
    const before = again ? this.look.frame : null;
    try {
      const url = `${ROOT}/studies/${this.#study}/series/${uid}/instances?limit=${MOST_INSTANCES}`;
      const instances = await everyPage(`${url}&includefield=AvailableTransferSyntaxUID`, this.#leave);
      if (this.series !== series) return;
      fill(this.#trouble);
      this.#frames = framesOf(this.#study, uid, instances);
      this.#described = null;
      const at = before ? this.#frames.findIndex((frame) => isSame(frame, before)) : -1;
      this.look.show(this.#frames, { label: labelOf(series), modality: text(series, TAG.Modality), at });
      await this.#describe();
      if (this.tab === "metadata") await this.#showMetadata();
    } catch (error) {
      if (!isAbort(error))
        fill(
          this.#trouble,
          failure(error, () => this.open(series)),
        );
    }
  }

  // Windows are relative to what one image of a series says: others rarely say otherwise.
  async #describe() {
    const { frame } = this.look;
    if (!frame || this.#described === frame.series) return;
    this.#described = frame.series;
    try {
      const dataset = await this.#metadataOf(frame);
      if (this.look.frame?.series !== frame.series) return;
      this.look.describe(dataset);
      const told = anywhere(dataset, TAG.RecommendedDisplayFrameRate)[0] ?? anywhere(dataset, TAG.CineRate)[0];
      const rate = Number.parseFloat(told) || 1000 / Number.parseFloat(anywhere(dataset, TAG.FrameTime)[0]);
      if (rate > 0) this.look.suggestRate(rate);
    } catch {
      // Without it windows cannot be chosen; the pictures show all the same.
    }
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
      await this.#tree.show(dataset);
    } catch (error) {
      if (!isAbort(error)) fill(this.#instance, h("span", { class: "note bad" }, error.message));
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

function isSame(one, other) {
  return one.instance === other.instance && one.number === other.number;
}

// What the archive renders an instance as; asking it would be an error where there is nothing.
function formOf(sopClass, transferSyntaxes, hasPixels) {
  if (transferSyntaxes.some((uid) => VIDEO.test(uid))) return "video";
  if (hasPixels) return "picture";
  if (sopClass.startsWith(`${STORAGE}.88.`)) return "report";
  return sopClass.startsWith(`${STORAGE}.104.`) ? "document" : "none";
}

function framesOf(study, series, instances) {
  const frames = [];
  for (const each of instances) {
    const rows = number(each, TAG.Rows) ?? 0;
    const columns = number(each, TAG.Columns) ?? 0;
    const sopClass = text(each, TAG.SOPClassUID);
    const form = formOf(sopClass, values(each, TAG.AvailableTransferSyntaxUID), rows > 0 && columns > 0);
    const howMany = form === "picture" ? Math.max(1, number(each, TAG.NumberOfFrames) ?? 1) : 1;
    const instance = { study, series, instance: text(each, TAG.SOPInstanceUID), sopClass, rows, columns, form };
    for (let frame = 1; frame <= howMany; frame += 1) frames.push({ ...instance, number: frame });
  }
  return frames;
}
