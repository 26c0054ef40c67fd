// Storage and health: how much there is, how much room is left, and whether everything answers.
import { copied } from "./copied.js";
import { fill, h, repeatedly } from "./dom.js";
import { bytes, count } from "./format.js";
import { API, isAbort, json } from "./http.js";
import { failure } from "./notices.js";
import { address } from "./router.js";

const AGAIN = 5000;

/** Show the system. */
export async function systemPage(main, asked, leave) {
  const place = h("div", { class: "system-cards" });
  const wrong = h("div", {});
  fill(main, h("div", { class: "page-head" }, h("h1", { tabindex: "-1" }, "System")), wrong, place);
  await repeatedly(
    AGAIN,
    async () => {
      try {
        const status = await json(`${API}/status`, { signal: leave });
        const made = cards(status);
        wrong.replaceChildren();
        place.hidden = false;
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
        if (isAbort(error)) return;
        place.hidden = true; // it may be true no longer
        const note = failure(error);
        // It is asked again every few seconds: what has been said is not said again.
        if (!wrong.firstChild?.isEqualNode(note)) fill(wrong, note);
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
      archive ? (archive.advice ? "warn" : "good") : "bad",
      archive ? (archive.advice ? "not all is well" : "answers") : "does not answer",
      archive &&
        h(
          "div",
          { class: "figures" },
          figure(count(archive.studies), "studies"),
          figure(count(archive.series), "series"),
          figure(count(archive.instances), "instances"),
        ),
      archive && facts([["Stored", `${archive.bytes_estimated ? "about " : ""}${bytes(archive.bytes)}`]]),
      archive && archive.advice && h("p", { class: "note warn" }, archive.advice),
    ),
    storageCard(storage),
    card(
      "Database",
      database.ok ? "good" : "bad",
      database.ok ? "answers" : "does not answer",
      facts([
        ["PostgreSQL", database.version ?? "not known"],
        database.bytes !== null && ["Size", bytes(database.bytes)],
      ]),
    ),
    card(
      "DIMSE gateway",
      gateway.serves ? (gateway.ok ? "good" : "bad") : "",
      gateway.serves ? (gateway.ok ? "answers" : "does not answer") : "off",
      facts([
        ["AE title", copied(gateway.ae_title, "the AE title", h("span", { class: "mono" }, gateway.ae_title))],
        gateway.serves && ["Port", String(gateway.port)],
        gateway.tls_port && ["Port for TLS", String(gateway.tls_port)],
      ]),
      gateway.problem && h("p", { class: "note bad" }, gateway.problem),
    ),
    card(
      "Work",
      !database.ok ? "" : stuck(status) ? "warn" : "good",
      !database.ok ? "not known" : stuck(status) ? "needs attention" : "in order",
      facts([
        ["Jobs", h("a", { href: address(["jobs"]) }, states(status.jobs, database.ok))],
        ["Commitments", h("a", { href: address(["commitments"]) }, states(status.commitments, database.ok))],
      ]),
    ),
    card(
      "Connections",
      "",
      "",
      facts([
        ["DICOMweb root", copied(status.dicomweb_root, "the address")],
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
      total_bytes !== null && ["Disk", `${bytes(total_bytes)}, ${Math.round(100 * used)} % in use`],
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

function states(counts, isKnown) {
  const each = Object.entries(counts).map(([state, number]) => `${count(number)} ${state}`);
  return each.join(", ") || (isKnown ? "none" : "not known");
}

function stuck({ jobs, commitments }) {
  return (jobs.failed ?? 0) + (jobs.parked ?? 0) + (commitments.parked ?? 0) > 0;
}
