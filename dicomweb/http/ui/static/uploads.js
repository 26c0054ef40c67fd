// Uploads as they are seen: files dropped anywhere or chosen, and a panel that tells how it goes while other pages are
// looked at. However many files there are, the panel shows a few of them and is drawn a few times a second.
import { fill, h, icon, ICONS } from "./dom.js";
import { entriesOf, holdsFiles } from "./dropped_files.js";
import { bytes, count, duration, plural } from "./format.js";
import { announce } from "./notices.js";
import { address } from "./router.js";
import { UploadQueue } from "./upload_queue.js";

const DRAWN_EVERY = 200;
const COUNTED_EVERY = 1000;
const SHOWN = 60;
const GONE_AFTER = 600;
const WORDS = {
  waiting: "Waiting",
  sending: "Sending",
  stored: "Stored",
  partly: "Partly stored",
  refused: "Refused",
  failed: "Failed",
  cancelled: "Not sent",
};
const LOOKS = { stored: "good", partly: "warn", refused: "bad", failed: "bad", cancelled: "warn" };

const queue = new UploadQueue();
let panel = null;
let drawing = 0;
let counting = 0;
let began = 0;
let files = null;
let folder = null;

/** Watch for drops and for the button. */
export function startUploads() {
  files = h("input", {
    type: "file",
    multiple: true,
    hidden: true,
    "aria-label": "Files to upload",
    id: "choose-files",
  });
  folder = h("input", {
    type: "file",
    webkitdirectory: true,
    hidden: true,
    "aria-label": "Folder to upload",
    id: "choose-folder",
  });
  for (const input of [files, folder]) {
    input.addEventListener("change", () => {
      take([...input.files]);
      input.value = "";
    });
  }
  document.body.append(files, folder);
  document.getElementById("upload").addEventListener("click", chooseFiles);
  startDropping();
  queue.addEventListener("change", () => (drawing ||= setTimeout(draw, DRAWN_EVERY)));
  addEventListener("beforeunload", (event) => queue.busy && event.preventDefault());
}

/** Show where files can be chosen and dropped. */
export function chooseFiles() {
  open();
  panel.scrollIntoView({ block: "nearest" });
  panel.querySelector("[data-choose]")?.focus();
}

function startDropping() {
  const veil = h(
    "div",
    { class: "drop-veil", hidden: true, "aria-hidden": "true" },
    h("div", {}, icon(ICONS.folder), h("p", {}, "Drop files, folders or ZIP archives to store them")),
  );
  document.body.append(veil);
  const isOurs = (event) => holdsFiles(event.dataTransfer) && !document.querySelector("dialog[open]");
  let timer = 0;
  const show = (shown) => {
    clearTimeout(timer);
    veil.hidden = !shown;
    // Who leaves the window with his files, or gives up, is not always told of; but who stays tells it all the time.
    if (shown) timer = setTimeout(() => show(false), GONE_AFTER);
  };
  addEventListener("dragover", (event) => {
    if (!isOurs(event)) return;
    event.preventDefault();
    show(true);
  });
  addEventListener("drop", (event) => {
    show(false);
    if (!isOurs(event)) return;
    event.preventDefault();
    take(entriesOf(event.dataTransfer));
  });
}

function take(entries) {
  if (!entries.length) return;
  if (!queue.busy) began = performance.now();
  open();
  queue.add(entries);
}

function open() {
  if (panel) return panel.classList.remove("folded");
  const part = (name) => h("div", { class: `upload-${name}` });
  const parts = Object.fromEntries(["head", "choose", "sum", "list", "foot"].map((name) => [name, part(name)]));
  panel = h("section", { class: "upload-panel", "aria-label": "Uploads" }, Object.values(parts));
  panel.parts = parts;
  fill(
    parts.choose,
    h("p", {}, "Drop files, folders or ZIP archives anywhere, or"),
    h(
      "div",
      { class: "row-actions" },
      h(
        "button",
        { type: "button", class: "button compact", data: { choose: "files" }, on: { click: () => files.click() } },
        icon(ICONS.file),
        "Choose files",
      ),
      h(
        "button",
        { type: "button", class: "button compact", on: { click: () => folder.click() } },
        icon(ICONS.folder),
        "Choose a folder",
      ),
    ),
  );
  document.getElementById("uploads").append(panel);
  draw();
}

function close() {
  queue.clear();
  panel.remove();
  panel = null;
  document.getElementById("upload").focus();
}

function draw() {
  drawing = 0;
  clearTimeout(counting);
  if (!panel) return;
  if (queue.resting.size) counting = setTimeout(draw, COUNTED_EVERY);
  const { head, choose, sum, list, foot } = panel.parts;
  const counts = Object.fromEntries(Object.keys(WORDS).map((state) => [state, 0]));
  for (const item of queue.items) counts[item.state] += 1;
  const total = queue.items.length;
  const over = total - counts.waiting - counts.sending;
  const bad = counts.partly + counts.refused + counts.failed;
  // A ZIP is one file of many instances, and each of them is stored or refused.
  const stored = sumOf("stored");
  const refused = sumOf("refused");
  const fold = panel.classList.contains("folded");
  drawHead(head, titleOf(total, over), fold);
  choose.hidden = queue.busy;
  drawSum(sum, { ...counts, stored, refused }, { total, over, bad });
  drawList(list);
  fill(
    foot,
    queue.busy &&
      h(
        "button",
        { type: "button", class: "button compact", data: { action: "cancel" }, on: { click: () => queue.cancel() } },
        "Cancel",
      ),
    !queue.busy &&
      bad + counts.cancelled > 0 &&
      h(
        "button",
        { type: "button", class: "button compact", data: { action: "retry" }, on: { click: retry } },
        icon(ICONS.retry),
        "Retry what failed",
      ),
    !queue.busy &&
      total > 0 &&
      h(
        "button",
        {
          type: "button",
          class: "button compact quiet",
          data: { action: "clear" },
          on: { click: () => queue.clear() },
        },
        "Clear",
      ),
    queue.studies.size === 1 &&
      h("a", { class: "button compact primary", href: address(["studies", [...queue.studies][0]]) }, "Open the study"),
    queue.studies.size > 1 &&
      h("a", { class: "button compact", href: address(["studies"]) }, plural(queue.studies.size, "study", "studies")),
  );
  foot.hidden = !foot.children.length;
  if (panel.wasBusy && !queue.busy)
    announce(`Upload finished: ${stored} stored, ${refused + counts.failed} refused, ${leftOut()} left out`);
  panel.wasBusy = queue.busy;
}

function sumOf(key) {
  return queue.items.reduce((sum, item) => sum + item[key], 0);
}

function leftOut() {
  return queue.skipped + queue.unreadable;
}

function titleOf(total, over) {
  if (!queue.busy) return total || leftOut() ? "Upload finished" : "Upload images";
  if (!total) return "Looking through files …";
  const onlyResting = queue.resting.size > 0 && queue.resting.size === total - over;
  return onlyResting ? "Waiting for the archive …" : `Uploading ${count(over)} of ${count(total)}`;
}

function retry() {
  began = performance.now();
  queue.retry();
}

function drawHead(head, title, fold) {
  if (!head.children.length) {
    const toggle = () => {
      panel.classList.toggle("folded");
      draw();
    };
    fill(
      head,
      h("h2", {}, title),
      h("button", { type: "button", class: "button quiet compact square", on: { click: toggle } }, icon(ICONS.down)),
      h(
        "button",
        { type: "button", class: "button quiet compact square", "aria-label": "Close", on: { click: close } },
        icon(ICONS.close),
      ),
    );
  }
  const [heading, folding, closing] = head.children;
  if (heading.textContent !== title) heading.textContent = title;
  folding.setAttribute("aria-label", fold ? "Show the uploads" : "Fold the uploads up");
  folding.setAttribute("aria-expanded", String(!fold));
  closing.hidden = queue.busy;
}

function drawSum(sum, counts, { total, over, bad }) {
  sum.hidden = !total && !leftOut();
  const going = [...queue.active].reduce((bytesSent, item) => bytesSent + item.sent, 0);
  const done = queue.bytesDone + going;
  const share = queue.bytesTotal ? done / queue.bytesTotal : 0;
  const seconds = (performance.now() - began) / 1000;
  const left =
    queue.busy && share > 0.02 && seconds > 2 ? `, about ${duration((seconds / share) * (1 - share))} left` : "";
  if (!sum.children.length)
    fill(
      sum,
      h(
        "div",
        { class: "meter", role: "progressbar", "aria-label": "Upload", "aria-valuemin": "0", "aria-valuemax": "100" },
        h("span", {}),
      ),
      h("p", {}),
      h("p", { class: "muted small" }),
    );
  const [meter, first, second] = sum.children;
  meter.hidden = !total;
  meter.className = `meter${queue.busy || bad ? "" : " good"}`;
  meter.firstElementChild.style.width = `${(share * 100).toFixed(1)}%`;
  meter.setAttribute("aria-valuenow", String(Math.round(share * 100)));
  const said = [
    counts.stored && `${count(counts.stored)} stored`,
    counts.refused && `${count(counts.refused)} refused`,
    counts.failed && `${count(counts.failed)} failed`,
    counts.cancelled && `${count(counts.cancelled)} not sent`,
  ];
  first.textContent = said.filter(Boolean).join(" · ") || (over ? "" : " ");
  first.hidden = !total;
  const skipped =
    queue.skipped && `${plural(queue.skipped, "file that is not DICOM was", "files that are not DICOM were")} skipped`;
  const unreadable = queue.unreadable && `${plural(queue.unreadable, "file")} could not be read`;
  second.textContent = [total && `${bytes(done)} of ${bytes(queue.bytesTotal)}${left}`, skipped, unreadable]
    .filter(Boolean)
    .join(" · ");
}

// What failed comes first, then what is on its way, then what was stored last.
function drawList(list) {
  const of = (...states) => queue.items.filter((item) => states.includes(item.state));
  const bad = of("refused", "failed", "partly");
  const shown = [
    ...bad.slice(0, SHOWN / 2),
    ...queue.active,
    ...[...queue.resting].slice(0, 5),
    ...of("cancelled").slice(0, 5),
    ...of("stored")
      .slice(-SHOWN / 2)
      .reverse(),
  ].slice(0, SHOWN);
  const rest = queue.items.length - shown.length;
  list.hidden = !queue.items.length;
  if (!list.children.length)
    fill(list, h("ul", { tabindex: "0", "aria-label": "Files" }), h("p", { class: "muted small" }));
  const [files, more] = list.children;
  fill(files, shown.map(fileOf));
  more.textContent = rest > 0 ? `and ${plural(rest, "other file")}` : "";
  more.hidden = rest <= 0;
}

function fileOf(item) {
  const share = item.state === "sending" && item.size ? ` ${Math.round((100 * item.sent) / item.size)} %` : "";
  const seconds = Math.max(1, Math.ceil((item.again - performance.now()) / 1000));
  const detail = queue.resting.has(item) ? `The archive is busy or away; tried again in ${seconds} s.` : item.detail;
  return h(
    "li",
    { class: item.state },
    h(
      "div",
      { class: "upload-file" },
      h("span", { class: "clip", title: item.path }, h("bdi", {}, item.path)),
      h("span", { class: "muted small" }, bytes(item.size)),
      h("span", { class: `badge ${LOOKS[item.state] ?? ""}` }, WORDS[item.state] + share),
    ),
    detail && h("p", { class: "small" }, detail),
  );
}
