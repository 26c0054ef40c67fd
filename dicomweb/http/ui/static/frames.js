// Pictures of frames, made by the archive (PS3.18 10.4.1.6), fetched ahead of the eye and kept while there is room.
import { pixelAspect } from "./geometry.js";
import { Problem, request, ROOT } from "./http.js";

const AT_ONCE = 3;
const MOST_SIDE = 4096; // of a picture that would take all the room by itself
const MOST_PIXELS = 48e6; // four bytes each

/** Whether two descriptions are of the same frame. */
export function isSameFrame(one, other) {
  return one?.instance === other?.instance && one?.number === other?.number;
}

/** The path of an instance. */
export function instanceUrl({ study, series, instance }) {
  return `${ROOT}/studies/${study}/series/${series}/instances/${instance}`;
}

/** The address of a picture: with a window of one's own, and no larger than it is shown. */
export function pictureUrl(frame, { window = null, side = 0 } = {}) {
  const parameters = [];
  if (window) parameters.push(`window=${round(window.center)},${round(window.width)},linear`);
  const most = side && shownSide(frame, side);
  // A smaller image is not blown up by the archive: the browser does that without bytes.
  if (side && Math.max(frame.rows, frame.columns) > most) parameters.push(`viewport=${most},${most}`);
  const what = frame.isWhole ? instanceUrl(frame) : `${instanceUrl(frame)}/frames/${frame.number}`;
  return `${what}/rendered${parameters.length ? `?${parameters.join("&")}` : ""}`;
}

/** How large a frame is, in pixels of its width: what is not square in the patient is not shown so. */
export function sizeOf(frame) {
  const aspect = frame?.plane ? pixelAspect(frame.plane) : 1;
  return { width: frame?.columns || 1, height: (frame?.rows || 1) * aspect };
}

function shownSide(frame, side) {
  return frame.rows * frame.columns > MOST_PIXELS ? Math.min(side, MOST_SIDE) : side;
}

/** Fetches pictures in the order they are wanted; "loaded" and "failed" tell of each by its address. */
export class Pictures extends EventTarget {
  #kept = new Map(); // address to bitmap, the one used last at the end
  #failed = new Map();
  #going = new Map(); // address to what aborts it
  #wanted = [];
  #pixels = 0;

  /** The picture, if it is here. */
  get(url) {
    const found = this.#kept.get(url);
    if (found) {
      this.#kept.delete(url);
      this.#kept.set(url, found);
    }
    return found ?? null;
  }

  /** Why a picture cannot be had, if that is known. */
  failure(url) {
    return this.#failed.get(url) ?? null;
  }

  /** Want these, the first most of all; what is not wanted any more is not waited for. */
  want(urls) {
    this.#wanted = urls;
    for (const [url, abort] of this.#going) if (!urls.includes(url)) abort.abort();
    this.#next();
  }

  /** How many pictures as large as that of a frame there is room for, at least one. */
  room(frame, side) {
    const most = shownSide(frame, side);
    const pixels = Math.min(frame.rows, most) * Math.min(frame.columns, most);
    return Math.max(1, Math.floor(MOST_PIXELS / Math.max(1, pixels)));
  }

  /** Let go of everything. */
  close() {
    this.want([]);
    for (const bitmap of this.#kept.values()) bitmap.close();
    this.#kept.clear();
    this.#pixels = 0;
  }

  #next() {
    for (const url of this.#wanted) {
      if (this.#going.size >= AT_ONCE) return;
      if (!this.#kept.has(url) && !this.#going.has(url) && !this.#failed.has(url)) this.#fetch(url);
    }
  }

  async #fetch(url) {
    const abort = new AbortController();
    this.#going.set(url, abort);
    try {
      const response = await request(url, { signal: abort.signal, headers: { Accept: "image/jpeg" } });
      this.#keep(url, await createImageBitmap(await response.blob()));
      this.#tell("loaded", url);
    } catch (error) {
      if (error.name !== "AbortError") {
        this.#failed.set(url, error instanceof Problem ? error : new Problem(0, "The picture cannot be shown."));
        // What is busy now may not be in a moment.
        if (error.status === 503 || error.status === 0)
          setTimeout(() => this.#failed.delete(url) && this.#next(), 2000);
        this.#tell("failed", url);
      }
    } finally {
      this.#going.delete(url);
      this.#next();
    }
  }

  #keep(url, bitmap) {
    this.#kept.set(url, bitmap);
    this.#pixels += bitmap.width * bitmap.height;
    for (const [old, used] of this.#kept) {
      if (this.#pixels <= MOST_PIXELS || old === url) break;
      if (this.#wanted.includes(old)) continue;
      this.#kept.delete(old);
      this.#pixels -= used.width * used.height;
      used.close();
    }
  }

  #tell(type, url) {
    this.dispatchEvent(new CustomEvent(type, { detail: url }));
  }
}

/** The places to fetch around one, nearest first, more of them in the direction of travel. */
export function neighbours(index, length, direction, ahead = 10, behind = 3) {
  const places = [index];
  for (let step = 1; step <= ahead; step += 1) {
    places.push(index + direction * step);
    if (step <= behind) places.push(index - direction * step);
  }
  return places.filter((place) => place >= 0 && place < length);
}

function round(value) {
  return String(Math.round(value * 100) / 100);
}
