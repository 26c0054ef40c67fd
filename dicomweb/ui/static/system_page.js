// Storage and health: how much there is, how much room is left, and whether everything answers.
import { fill, h, icon, ICONS, repeatedly } from "./dom.js";
import { bytes, count } from "./format.js";
import { API, isAbort, json } from "./http.js";
import { failure, notice } from "./notices.js";
import { address } from "./router.js";

const AGAIN = 5000;

/** Show the system. */
export async function systemPage(main, asked, leave) {
  const place = h("div", { class: "system-cards" });
  fill(main, h("div", { class: "page-head" }, h("h1", { tabindex: "-1" }, "System")), place);
  await repeatedly(
    AGAIN,
    async () => {
      try {
        const status = await json(`${API}/status`, { signal: leave });
        const made = cards(status);
        // What did not change is left alone, so that text can be selected and links keep the focus.
        made.forEach((card, at) =>
          place.children[at]?.isEqualNode(card)
            ? null
            : place.children[at]
              ? place.children[at].replaceWith(card)
              : place.append(card),
        );
        while (place.children.length > made.length) place.lastElementChild.remove();
      } catch (error) {
        if (!isAbort(error)) fill(place, failure(error));
      }
    },
    leave,
  );
}

function cards(status) {
  const { archive, storage, database, gateway } = status;
  return [
    card(
      "Archive",
      archive ? "good" : "bad",
      archive ? "answers" : "does not answer",
      archive &&
        h(
          "div",
          { class: "figures" },
          figure(count(archive.studies), "studies"),
          figure(count(archive.series), "series"),
          figure(count(archive.instances), "instances"),
        ),
      archive && facts([["Stored", `${archive.bytes_estimated ? "about " : ""}${bytes(archive.bytes)}`]]),
    ),
    storageCard(storage),
    card(
      "Database",
      database.ok ? "good" : "bad",
      database.ok ? "answers" : "does not answer",
      facts([
        ["PostgreSQL", database.version ?? "unknown"],
        ["Size", bytes(database.bytes)],
      ]),
    ),
    card(
      "DIMSE gateway",
      gateway.serves ? (gateway.ok ? "good" : "bad") : "",
      gateway.serves ? (gateway.ok ? "answers" : "does not answer") : "off",
      facts([
        ["AE title", h("span", { class: "mono" }, gateway.ae_title)],
        gateway.serves && ["Port", String(gateway.port)],
        gateway.tls_port && ["Port for TLS", String(gateway.tls_port)],
      ]),
      gateway.problem && h("p", { class: "note bad" }, gateway.problem),
    ),
    card(
      "Work",
      stuck(status) ? "warn" : "good",
      stuck(status) ? "needs attention" : "in order",
      facts([
        ["Jobs", h("a", { href: address(["jobs"]) }, states(status.jobs) || "none")],
        ["Commitments", h("a", { href: address(["commitments"]) }, states(status.commitments) || "none")],
      ]),
    ),
    card(
      "Connections",
      "",
      "",
      facts([
        ["DICOMweb root", copied(status.dicomweb_root)],
        ["Viewer", status.viewer ? "installed" : "not installed"],
        ["Version", status.version],
      ]),
      h(
        "p",
        { class: "links" },
        h("a", { href: `${API}/openapi.json` }, "API description"),
        h("a", { href: new URL("../metrics", new URL(".", document.baseURI)).href }, "Metrics"),
        h("a", { href: new URL("../health", new URL(".", document.baseURI)).href }, "Health"),
      ),
    ),
  ];
}

function storageCard({ ok, total_bytes, free_bytes, least_free_bytes }) {
  const used = total_bytes ? (total_bytes - free_bytes) / total_bytes : 0;
  const meter = h(
    "div",
    {
      class: `meter${ok ? "" : " bad"}`,
      role: "meter",
      "aria-label": "Disk in use",
      "aria-valuemin": "0",
      "aria-valuemax": "100",
      "aria-valuenow": String(Math.round(100 * used)),
    },
    h("span", {}),
  );
  meter.firstElementChild.style.width = `${(100 * used).toFixed(1)}%`;
  const state = free_bytes === null ? "cannot be read" : ok ? "has room" : "is full";
  return card(
    "Storage",
    ok ? "good" : "bad",
    state,
    total_bytes !== null && [h("div", { class: "figures" }, figure(bytes(free_bytes), "free")), meter],
    facts([
      ["Disk", `${bytes(total_bytes)}, ${Math.round(100 * used)} % in use`],
      ["Kept free", bytes(least_free_bytes)],
    ]),
  );
}

function card(title, look, state, ...content) {
  return h(
    "section",
    { class: "card system-card" },
    h("div", { class: "system-head" }, h("h2", {}, title), state && h("span", { class: `badge ${look}` }, state)),
    content,
  );
}

function figure(value, word) {
  return h("div", { class: "figure" }, h("span", {}, value), h("span", { class: "muted small" }, word));
}

function facts(pairs) {
  return h(
    "dl",
    { class: "definition" },
    pairs.filter(Boolean).map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]),
  );
}

function states(counts) {
  return Object.entries(counts)
    .map(([state, number]) => `${count(number)} ${state}`)
    .join(", ");
}

function stuck({ jobs, commitments }) {
  return (jobs.failed ?? 0) + (jobs.parked ?? 0) + (commitments.parked ?? 0) > 0;
}

function copied(value) {
  const copy = () =>
    navigator.clipboard?.writeText(value).then(
      () => notice("Copied."),
      () => {},
    );
  return h(
    "span",
    { class: "copied" },
    h("code", {}, value),
    navigator.clipboard &&
      h(
        "button",
        { type: "button", class: "button compact quiet square", "aria-label": "Copy", on: { click: copy } },
        icon(ICONS.file),
      ),
  );
}
