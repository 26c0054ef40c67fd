// Files on their way into the archive: a request each, a few at a time, the rest in line. Knows nothing of the page.
import { kindOf, walk } from "./dropped_files.js";
import { ROOT } from "./http.js";
import { readAnswer } from "./stow_answer.js";

// The browser has six connections to a server: these, one for what is live, and the others for whoever looks on.
const AT_ONCE = 3;
const TYPES = { dicom: "application/dicom", zip: "application/zip" };
const BUSY = new Set([0, 429, 502, 503, 504]);
const TRIES = 8; // over two minutes: an archive that is started anew is waited for
const LONGEST_PAUSE = 30_000;
const REASONS_SHOWN = 4;
// A proxy that wants a password answers with its own page, and with a status of success.
const NOT_OURS = "The answer did not come from the archive. Are you still signed in?";

/** The queue. "change" is dispatched whenever something happened; whoever shows it decides how often to look. */
export class UploadQueue extends EventTarget {
  items = [];
  active = new Set();
  resting = new Set(); // what the archive was too busy for, until it is tried again
  skipped = 0;
  unreadable = 0;
  studies = new Set();
  bytesDone = 0;
  bytesTotal = 0;
  finding = 0;
  #waiting = [];
  #cancelled = false;

  /** Whether something is being looked through or sent. */
  get busy() {
    return this.finding > 0 || this.active.size > 0 || this.resting.size > 0 || this.#waiting.length > 0;
  }

  /** Take in everything below these entries. */
  async add(entries) {
    this.#cancelled = false;
    this.finding += 1;
    this.#changed();
    try {
      for await (const { file, path } of walk(entries, () => (this.unreadable += 1))) {
        if (this.#cancelled) break;
        const kind = await kindOf(file).catch(() => "unreadable");
        if (kind === "unreadable") this.unreadable += 1;
        else if (kind) this.#enqueue(file, path, kind);
        else this.skipped += 1;
        this.#changed();
      }
    } finally {
      this.finding -= 1;
      this.#changed();
    }
  }

  /** Send again what was not stored, but might be. */
  retry() {
    this.#cancelled = false;
    for (const item of this.items) {
      if (item.state === "stored") continue;
      if (item.state === "waiting" || item.state === "sending") continue;
      this.bytesDone -= item.size;
      Object.assign(item, { state: "waiting", detail: "", sent: 0, tries: 0, stored: 0, refused: 0 });
      this.#waiting.push(item);
    }
    this.#next();
    this.#changed();
  }

  /** Send nothing more; what is stored stays stored. */
  cancel() {
    this.#cancelled = true;
    for (const item of [...this.#waiting.splice(0), ...this.#roused()]) this.#settle(item, "cancelled", "Not sent");
    for (const item of [...this.active]) item.request?.abort();
    this.#changed();
  }

  /** Forget everything that is over. */
  clear() {
    this.#roused();
    Object.assign(this, { items: [], skipped: 0, unreadable: 0, bytesDone: 0, bytesTotal: 0 });
    this.studies.clear();
    this.#changed();
  }

  #enqueue(file, path, kind) {
    const nothing = { sent: 0, state: "waiting", detail: "", tries: 0, stored: 0, refused: 0 };
    const item = { file, path, kind, size: file.size, ...nothing };
    this.items.push(item);
    this.bytesTotal += item.size;
    this.#waiting.push(item);
    this.#next();
  }

  #next() {
    while (this.active.size < AT_ONCE && this.#waiting.length && !this.#cancelled) this.#send(this.#waiting.shift());
  }

  #send(item) {
    // fetch tells nothing of how far a body has gone, so this is the older interface.
    const request = (item.request = new XMLHttpRequest());
    item.state = "sending";
    item.sent = 0;
    this.active.add(item);
    request.open("POST", `${ROOT}/studies`);
    request.setRequestHeader("Content-Type", TYPES[item.kind]);
    request.setRequestHeader("Accept", "application/dicom+json");
    request.responseType = "json";
    request.upload.onprogress = (event) => {
      item.sent = Math.min(event.loaded, item.size);
      this.#changed();
    };
    request.onloadend = () => this.#answered(item, request);
    request.send(item.file);
    this.#changed();
  }

  #answered(item, request) {
    this.active.delete(item);
    item.request = null;
    item.sent = 0;
    if (this.#cancelled && !request.status) this.#settle(item, "cancelled", "Not sent");
    else if (BUSY.has(request.status) && (item.tries += 1) < TRIES) this.#later(item);
    else this.#read(item, request);
    this.#next();
    this.#changed();
  }

  // The archive is busy or away for a moment: the file goes to the end of the line.
  #later(item) {
    const pause = Math.min(1000 * 2 ** item.tries, LONGEST_PAUSE);
    const timer = setTimeout(() => {
      this.resting.delete(item);
      this.#waiting.push(item);
      this.#next();
    }, pause);
    Object.assign(item, { state: "waiting", timer, again: performance.now() + pause });
    this.resting.add(item);
  }

  // What rested, and does not any more.
  #roused() {
    const roused = [...this.resting];
    this.resting.clear();
    for (const item of roused) clearTimeout(item.timer);
    return roused;
  }

  #read(item, request) {
    const answer = readAnswer(request.status, request.response);
    for (const uid of answer.studies) this.studies.add(uid);
    const several = item.kind === "zip" ? `${answer.stored} stored` : "";
    const refused = answer.refused.length;
    item.stored = answer.stored;
    // What is not said to be stored is not: a status of success alone may be anybody's.
    if (refused) {
      const state = [200, 202, 400, 409, 413].includes(request.status) ? (answer.stored ? "partly" : "refused") : "failed";
      item.refused = state === "failed" ? 0 : refused;
      this.#settle(item, state, `${several && `${several}, ${refused} refused: `}${reasons(answer.refused)}`);
    } else if (answer.stored) this.#settle(item, "stored", several || answer.remarks[0] || "");
    else this.#settle(item, "failed", unexplained(request.status));
  }

  #settle(item, state, detail) {
    Object.assign(item, { state, detail });
    // A file that is stored need not be held any longer.
    if (state === "stored") item.file = null;
    this.bytesDone += item.size;
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

// Each reason once, with how many it is of.
function reasons(refused) {
  const counts = new Map();
  for (const reason of refused) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  if (counts.size === 1) return refused[0];
  const shown = [...counts].slice(0, REASONS_SHOWN).map(([reason, number]) => `${number} × ${reason}`);
  return shown.join(" ") + (counts.size > REASONS_SHOWN ? " …" : "");
}

// Why nothing is stored when the answer names no reason.
function unexplained(status) {
  if (!status) return "The archive cannot be reached.";
  return status < 400 ? NOT_OURS : `The archive answered ${status}.`;
}
