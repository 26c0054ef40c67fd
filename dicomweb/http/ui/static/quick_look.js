// A quick look through the frames of a series: wheel, keys, slider, swipe, cine; windows by preset, number or drag;
// larger by wheel with Ctrl, pinch, buttons and keys.
import { nameElement } from "./dicom.js";
import { shownInPlace } from "./document.js";
import { fill, h, icon, ICONS } from "./dom.js";
import { isSameFrame, neighbours, Pictures, pictureUrl, sizeOf } from "./frames.js";
import { listenToGestures } from "./gestures.js";
import { Outlines } from "./outlines.js";
import { edgesOf } from "./orientation.js";
import { savePicture } from "./picture_file.js";
import { quickLookParts } from "./quick_look_parts.js";
import { tooLarge } from "./slide_levels.js";
import { facts, person } from "./study_head.js";
import { dragged, presetsOf } from "./windows.js";
import { Zoom } from "./zoom.js";

const SWIPE_STEP = 14;
const SMOOTH = 4; // pixels of the screen for one of the picture, from which on they are told apart
const SLOW = 180; // milliseconds after which it shows that a picture is waited for
const RATES = [5, 10, 15, 20, 30, 60];

/** The component; `element` is to be put into the page. `turned` hears of every frame that is shown. */
export class QuickLook {
  #pictures = new Pictures();
  #frames = [];
  #index = 0;
  #direction = 1;
  #window = null; // the reader's own
  #modality = "";
  #shown = null; // the frame that is painted, and the address of its picture
  #waits = false;
  #cine = 0;
  #turned;
  #tool = null;
  #zoom = new Zoom(() => this.#placed());

  constructor(turned, leave) {
    this.#turned = turned;
    Object.assign(this, quickLookParts(RATES));
    this.outlines = new Outlines({ button: this.outlining, legend: this.legend, drawing: this.drawing }, leave);
    this.#listen();
    this.#pictures.addEventListener("loaded", (event) => event.detail === this.#url(this.#index) && this.#draw());
    this.#pictures.addEventListener("failed", (event) => event.detail === this.#url(this.#index) && this.#draw());
    leave.addEventListener("abort", () => {
      this.#stop();
      this.#pictures.close();
    });
  }

  /**
   * Show the frames of a series, from its middle or from `beginning`; with `at` the reader is there already, and goes on
   * with the window and the cine he has. `waits`: what its frames are is yet to come.
   */
  show(frames, { label, modality, series, at = -1, beginning = -1, waits = false }) {
    Object.assign(this, { label, series });
    this.#frames = frames;
    this.#modality = modality;
    this.#waits = waits;
    this.outlines.among(frames);
    this.slider.max = String(Math.max(1, frames.length));
    this.element.classList.toggle("single", frames.length < 2);
    this.corner.textContent = label;
    if (at < 0) this.#begin();
    this.#fit();
    const first = beginning < 0 ? Math.floor((frames.length - 1) / 2) : beginning;
    this.turn(at < 0 ? first : at, true);
  }

  // Nothing of another series stays: neither its picture nor a window.
  #begin() {
    this.#stop();
    this.#blank();
    this.#window = null;
    this.#zoom.fit();
    this.suggestRate(15);
    this.#presets();
  }

  /** Say whose pictures they are, for when they fill the screen. */
  identify(study) {
    const lines = [person(study), facts(study)].map((parts) => parts.filter(Boolean).join(" · "));
    fill(
      this.who,
      nameElement(study),
      lines.map((line) => line && h("bdi", {}, line)),
    );
  }

  /** Look again at what frames say of themselves. */
  describe() {
    this.#numbers();
    this.#letters();
    this.#fit();
    this.outlines.among(this.#frames);
  }

  /** Play so many frames a second, or nearly. */
  suggestRate(rate) {
    this.rate.value = String(
      RATES.reduce((best, each) => (Math.abs(each - rate) < Math.abs(best - rate) ? each : best)),
    );
  }

  /** The frame that is shown. */
  get frame() {
    return this.#frames[this.#index] ?? null;
  }

  /** Go to a frame by its place; beyond the ends there is none. */
  turn(index, anyway = false) {
    const to = Math.max(0, Math.min(this.#frames.length - 1, index));
    if (to === this.#index && !anyway) return;
    if (to !== this.#index) this.#direction = to > this.#index ? 1 : -1;
    this.#index = to;
    this.#numbers();
    this.#want();
    this.#draw();
    this.#turned(this.frame);
  }

  #listen() {
    listenToGestures(this.stage, {
      isReady: () => this.#frames.length > 0,
      turned: (steps) => this.#by(steps),
      zoomed: (factor, at) => this.#isPicture && this.#zoom.by(factor, at),
      doubled: (at) => this.#isPicture && (this.#zoom.scale === 1 ? this.#zoom.by(2, at) : this.#zoom.fit()),
      moved: (right, down) => this.#moveBy(right, down),
      dragging: (pointerType, isMiddle) => this.#dragging(pointerType, isMiddle),
    });
    this.slider.addEventListener("input", () => this.#to(Number(this.slider.value) - 1));
    this.stage.addEventListener("keydown", (event) => this.#key(event));
    this.player.addEventListener("click", () => (this.#cine ? this.#stop() : this.#play()));
    this.rate.addEventListener("change", () => this.#cine && this.#play());
    this.preset.addEventListener("change", () => this.#preset(this.preset.selectedIndex));
    for (const input of [this.center, this.width]) input.addEventListener("change", () => this.#typed());
    for (const button of this.#tools) button.addEventListener("click", () => this.#use(button.dataset.tool));
    this.nearer.addEventListener("click", () => this.#zoom.step(1));
    this.farther.addEventListener("click", () => this.#zoom.step(-1));
    this.fitting.addEventListener("click", () => this.#zoom.fit());
    this.actual.addEventListener("click", () => this.#zoom.actual());
    this.saves.addEventListener("click", () => savePicture(this.frame, this.#window, this.#modality, this.series));
    this.larger.addEventListener("click", () =>
      document.fullscreenElement ? document.exitFullscreen() : this.element.requestFullscreen?.(),
    );
    new ResizeObserver(() => this.#fit()).observe(this.stage);
  }

  get #tools() {
    return [this.scrolls, this.windows, this.pans];
  }

  // A mouse has a wheel to scroll with, so its drag changes the window; a finger scrolls, or moves what is larger than
  // the stage, unless told otherwise.
  #dragging(pointerType, isMiddle) {
    this.#stop();
    const ofFinger = this.#zoom.scale > 1 ? "pan" : "scroll";
    const chosen = isMiddle ? "pan" : (this.#tool ?? (pointerType === "mouse" ? "window" : ofFinger));
    const tool = this.#isPicture || chosen !== "pan" ? chosen : "scroll";
    const { right: atRight, down: atDown } = this.#zoom.offset;
    const index = this.#index;
    const window = this.#window ?? this.#base;
    return (right, down) => {
      if (tool === "scroll") this.turn(index + Math.round(-down / SWIPE_STEP));
      else if (tool === "pan") this.#zoom.move(atRight + right, atDown + down);
      else if (window && Math.hypot(right, down) > 3) this.#choose(dragged(window, right, down), true);
    };
  }

  #moveBy(right, down) {
    const at = this.#zoom.offset;
    if (this.#isPicture) this.#zoom.move(at.right + right, at.down + down);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== this.stage) return;
    if (this.#isPicture && this.#zoomKey(event)) return event.preventDefault();
    const last = this.#frames.length - 1;
    const places = {
      ArrowDown: this.#index + 1,
      ArrowRight: this.#index + 1,
      ArrowUp: this.#index - 1,
      ArrowLeft: this.#index - 1,
      PageDown: this.#index + 10,
      PageUp: this.#index - 10,
      Home: 0,
      End: last,
    };
    if (event.key in places) this.#to(places[event.key]);
    else if (event.key === " ") this.#cine ? this.#stop() : this.#play();
    else if (/^[0-9]$/.test(event.key)) this.#preset(Number(event.key));
    else return;
    event.preventDefault();
  }

  // Arrows with Shift go over the picture, as far as an eighth of the stage.
  #zoomKey({ key, shiftKey }) {
    const across = this.stage.clientWidth / 8;
    const moves = { ArrowLeft: [across, 0], ArrowRight: [-across, 0], ArrowUp: [0, across], ArrowDown: [0, -across] };
    const acts = {
      "+": () => this.#zoom.step(1),
      "=": () => this.#zoom.step(1),
      "-": () => this.#zoom.step(-1),
      f: () => this.#zoom.fit(),
      a: () => this.#zoom.actual(),
    };
    if (shiftKey && key in moves) this.#moveBy(...moves[key]);
    else if (!Object.hasOwn(acts, key)) return false;
    else acts[key]();
    return true;
  }

  #by(steps) {
    this.#to(this.#index + steps);
  }

  #to(index) {
    this.#stop();
    this.turn(index);
  }

  #use(tool) {
    this.#tool = this.#tool === tool ? null : tool;
    for (const button of this.#tools) button.setAttribute("aria-pressed", String(button.dataset.tool === this.#tool));
  }

  #play() {
    this.#stop();
    if (this.#frames.length < 2 || !this.#isPicture) return;
    this.#playing(true);
    // A frame that is not here yet is waited for: a gap in a moving heart would look like a finding.
    this.#cine = setInterval(
      () => this.#shown?.url === this.#url(this.#index) && this.turn((this.#index + 1) % this.#frames.length),
      1000 / Number(this.rate.value),
    );
  }

  #stop() {
    clearInterval(this.#cine);
    this.#cine = 0;
    this.#playing(false);
  }

  #playing(plays) {
    this.player.setAttribute("aria-pressed", String(plays));
    this.player.setAttribute("aria-label", plays ? "Stop" : "Play");
    fill(this.player, icon(plays ? ICONS.pause : ICONS.play, true));
  }

  // What windows are relative to; null for what has none: colour, reports.
  get #base() {
    return this.frame?.beginning ? (this.frame.window ?? this.frame.beginning) : null;
  }

  #presets() {
    const some = this.#frames.find(({ beginning }) => beginning)?.beginning ?? null;
    const names = ["As stored", ...presetsOf(this.#modality, some).map(([name]) => name)];
    fill(
      this.preset,
      names.map((name, place) => h("option", {}, place && place < 10 ? `${name} (${place})` : name)),
      h("option", { hidden: true }, "Own window"),
    );
  }

  #preset(place) {
    const windows = [null, ...presetsOf(this.#modality, this.#base).map(([, window]) => window)];
    if (!this.#base || windows[place] === undefined) return;
    this.preset.selectedIndex = place;
    this.#choose(windows[place]);
  }

  #typed() {
    // The browser itself says what is wrong with a number, in the user's language.
    if (![this.center, this.width].every((input) => input.reportValidity())) return;
    const base = this.#window ?? this.#base;
    const typed = (input, otherwise) => (input.value ? Number.parseFloat(input.value) : otherwise);
    this.#choose({ center: typed(this.center, base.center), width: typed(this.width, base.width) }, true);
  }

  #choose(window, own = false) {
    this.#window = window;
    if (own) this.preset.selectedIndex = this.preset.options.length - 1;
    this.#numbers();
    this.#want();
    this.#draw();
  }

  // The window of the frame itself, and nothing while it is not known.
  #numbers() {
    const base = this.#base;
    const window = base && (this.#window ?? this.frame.window);
    for (const control of [this.preset, this.center, this.width, this.windows]) control.disabled = !base;
    for (const input of [this.center, this.width]) input.required = Boolean(window);
    const said = (value) => (window ? String(Math.round(value * 10) / 10) : "");
    if (document.activeElement !== this.center) this.center.value = said(window?.center);
    if (document.activeElement !== this.width) this.width.value = said(window?.width);
    this.level.textContent = window ? `C ${said(window.center)}  W ${said(window.width)}` : "";
  }

  // What is no picture has no size: the zoom waits for the next one as it is.
  get #isPicture() {
    return this.frame?.form === "picture";
  }

  #fit() {
    if (this.#isPicture) this.#zoom.place(this.stage, sizeOf(this.frame));
  }

  // A picture that is shown larger is fetched larger.
  #placed() {
    const { left, top, width, height } = this.#zoom.box;
    for (const [side, value] of Object.entries({ left, top, width, height }))
      this.plane.style[side] = `${value.toFixed(2)}px`;
    const isLarger = this.#zoom.scale > 1;
    this.plane.classList.toggle("told-apart", isLarger && this.#zoom.pixels >= SMOOTH);
    this.fitting.textContent = `${Math.round(this.#zoom.pixels * 100)} %`;
    const most = Math.max(this.stage.clientWidth, this.stage.clientHeight);
    const wanted = most * Math.max(1, this.#zoom.scale) * Math.min(2, devicePixelRatio);
    // A few sizes only, or every other size of the window would fetch everything again.
    const side = [512, 1024, 2048, 4096].find((each) => each >= wanted) ?? Infinity;
    if (side === this.side) return;
    this.side = side;
    if (!this.#frames.length) return;
    this.#want();
    this.#draw();
  }

  #url(index) {
    const frame = this.#frames[index];
    return frame ? pictureUrl(frame, { window: this.#window, side: this.side }) : "";
  }

  #want() {
    if (!this.#isPicture) return this.#pictures.want([]);
    const places = neighbours(this.#index, this.#frames.length, this.#direction);
    const room = this.#pictures.room(this.frame, this.side);
    const pictures = places.filter((place) => this.#frames[place].form === "picture");
    this.#pictures.want(pictures.slice(0, room).map((place) => this.#url(place)));
  }

  #draw() {
    const { frame } = this;
    const url = this.#url(this.#index);
    const bitmap = this.#pictures.get(url);
    const failure = this.#pictures.failure(url);
    const said = frame ? `${this.#index + 1} / ${this.#frames.length}` : "";
    this.place.textContent = said;
    this.slider.value = String(this.#index + 1);
    this.slider.setAttribute("aria-valuetext", `${this.#index + 1} of ${this.#frames.length}`);
    this.stage.setAttribute(
      "aria-label",
      frame
        ? `${this.label}, picture ${this.#index + 1} of ${this.#frames.length}`
        : `${this.label}, ${this.#waits ? "loading" : "no pictures"}`,
    );
    const other = Boolean(frame) && !this.#isPicture;
    if (frame) this.element.classList.toggle("no-picture", other);
    this.note.hidden = !failure && !other;
    // What is no longer looked at neither plays nor loads.
    if (!other && this.told) fill(this.note, (this.told = null));
    if (other) this.#other(frame);
    else if (failure) this.note.textContent = failure.message;
    clearTimeout(this.slow);
    this.wait.hidden = true;
    if (bitmap) this.#paint(bitmap, url);
    else if (other || failure || !(frame || this.#waits)) this.#blank();
    else this.slow = setTimeout(() => this.#waiting(), SLOW);
  }

  // Whoever stops at a frame does not look at another one in its place; a cine waits without a gap.
  #waiting() {
    this.wait.hidden = false;
    if (!this.#cine && !isSameFrame(this.#shown?.frame, this.frame)) this.#blank();
  }

  #paint(bitmap, url) {
    if (this.canvas.width !== bitmap.width || this.canvas.height !== bitmap.height)
      Object.assign(this.canvas, { width: bitmap.width, height: bitmap.height });
    this.canvas.getContext("2d").drawImage(bitmap, 0, 0);
    this.canvas.dataset.shown = String(this.#index + 1);
    this.#shown = { url, frame: this.frame };
    this.saves.disabled = false;
    this.outlines.show(this.frame);
    this.#letters();
    this.#fit();
  }

  // Of the frame that is painted, not of the one that is waited for.
  #letters() {
    const plane = this.#shown?.frame.plane;
    const letters = plane ? edgesOf(plane) : {};
    for (const [side, edge] of Object.entries(this.edges)) edge.textContent = letters[side] ?? "";
  }

  #blank() {
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
    delete this.canvas.dataset.shown;
    this.#shown = null;
    this.saves.disabled = true;
    this.outlines.show(null);
    this.#letters();
  }

  // When its series grows, what is read or played goes on; a cine ends here.
  #other(frame) {
    this.#stop();
    if (isSameFrame(this.told, frame)) return;
    this.told = frame;
    const sentence = () => h("p", {}, `${tooLarge(frame)} Smaller levels are here, all of it in the viewer.`);
    fill(this.note, frame.form === "level" ? sentence() : shownInPlace(frame));
  }
}
