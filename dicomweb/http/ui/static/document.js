// What is no picture, in the place of one: reports, documents, curves and videos, as the archive gives them out.
import { fill, h, icon, ICONS } from "./dom.js";
import { instanceUrl } from "./frames.js";
import { isAbort, request } from "./http.js";

const TITLES = { report: "Report", document: "Document", waveform: "Waveform", video: "Video" };
const PDF = "application/pdf";
// What the archive makes of what browsers could run.
const SAVED = "application/octet-stream";
// What browsers show in a frame without help.
const READABLE = new Set(["text/html", "text/plain", "text/xml", "application/xml"]);
const OWN = ["pointerdown", "wheel", "dblclick"]; // what the stage would take for its own

/** Make the element that shows a frame of another form than "picture"; it fills itself. */
export function shownInPlace(frame) {
  const element = h("div", { class: "document", data: { form: frame.form } });
  if (!TITLES[frame.form]) return told(element, "Its metadata says what it holds.");
  for (const type of OWN) element.addEventListener(type, (event) => event.stopPropagation());
  show(element, frame);
  return element;
}

// The archive knows what it is given out as; asking first tells a refusal in its words, not as a page in a frame.
async function show(element, frame) {
  const url = `${instanceUrl(frame)}/rendered`;
  const title = TITLES[frame.form];
  element.setAttribute("aria-busy", "true");
  try {
    const type = await typeOf(url);
    // By itself, or printed, a drawing has no head that says whose it is.
    const alone = type.startsWith("image/") ? `${url}?annotation=patient` : url;
    fill(element, bar(alone, title), content(type, url, title, element));
  } catch (error) {
    if (!isAbort(error)) told(element, error.message);
  } finally {
    element.removeAttribute("aria-busy");
  }
}

async function typeOf(url) {
  const asked = { headers: { Accept: "text/html, image/svg+xml, */*;q=0.5" } };
  let response;
  try {
    response = await request(url, { ...asked, method: "HEAD" });
  } catch {
    // The answer to HEAD has no words.
    const leave = new AbortController();
    response = await request(url, { ...asked, signal: leave.signal });
    leave.abort();
  }
  return response.headers.get("Content-Type").split(";")[0].trim().toLowerCase();
}

function content(type, url, title, element) {
  if (type.startsWith("image/")) return paper(url, title, element);
  if (type.startsWith("video/")) return video(url, type, element);
  if (READABLE.has(type)) return h("iframe", { src: url, title, sandbox: "", referrerpolicy: "no-referrer" });
  if (type === SAVED) return h("p", {}, "This document could run scripts, so it is not shown. Open saves it as a file.");
  // In a sandbox browsers show no PDF; on phones few show one in a frame at all.
  if (type === PDF && navigator.pdfViewerEnabled) return h("iframe", { src: url, title });
  return h("p", {}, `This browser shows no ${type === PDF ? "PDF" : type} in a page. Open it in a tab of its own.`);
}

// It scrolls where it is larger than its place: by wheel, finger and keys.
function paper(url, title, element) {
  const image = h("img", { src: url, alt: `${title} on millimetre paper` });
  image.addEventListener("error", () => told(element, "The drawing cannot be loaded."));
  return h("div", { class: "paper", role: "region", tabindex: "0", "aria-label": title }, image);
}

function video(url, type, element) {
  const player = h("video", { src: url, controls: true, preload: "metadata", playsinline: true });
  const sentence = "This browser cannot play this video.";
  if (!player.canPlayType(type)) return h("p", {}, sentence);
  player.addEventListener("error", () => player.isConnected && told(element, sentence, bar(url, "Video")));
  return player;
}

function bar(url, title) {
  const open = { href: url, target: "_blank", rel: "noopener", class: "button compact" };
  return h("div", { class: "document-bar" }, h("span", {}, title), h("a", open, icon(ICONS.open), "Open"));
}

function told(element, sentence, above = null) {
  return fill(element, above, h("p", {}, "This object is not a picture."), h("p", { class: "small" }, sentence));
}
