// Storage commitments asked of the archive, and reports that could not be delivered.
import { infoDialog } from "./dialogs.js";
import { fill, h, ICONS, repeatedly } from "./dom.js";
import { count, moment, plural } from "./format.js";
import { API, isAbort, json, send } from "./http.js";
import { emptiness, failure, notice } from "./notices.js";
import { subsections } from "./sections.js";
import { replaceTable, rowButton, table } from "./table.js";

const AGAIN = 3000;
const LOOKS = { checking: "accent", asking: "accent", reporting: "warn", reported: "good", parked: "bad" };
const MEANINGS = {
  checking: "files are read back",
  asking: "the archive downstream is asked",
  reporting: "on its way",
  reported: "confirmed by the requester",
  parked: "delivery was given up",
};

/** Show the commitments. */
export async function commitmentsPage(main, asked, leave) {
  const place = h("div", {});
  const state = h(
    "select",
    { "aria-label": "State" },
    [
      ["", "Every state"],
      ["parked", "Parked"],
      ["checking,asking,reporting", "Under way"],
      ["reported", "Reported"],
    ].map(([value, title]) => h("option", { value }, title)),
  );
  fill(
    main,
    h("div", { class: "page-head" }, h("h1", { tabindex: "-1" }, "Storage commitments")),
    subsections("jobs", "commitments"),
    h("form", { class: "simple-filters" }, state),
    place,
  );
  const load = async () => {
    try {
      const found = await json(`${API}/commitments?limit=200${state.value ? `&state=${state.value}` : ""}`, {
        signal: leave,
      });
      if (!found.length)
        fill(
          place,
          emptiness(
            ICONS.check,
            "No commitments",
            "Modalities ask here whether what they have sent is safe, before they delete it.",
          ),
        );
      else replaceTable(place, table("Storage commitments", columns(resend), found));
    } catch (error) {
      if (!isAbort(error)) fill(place, failure(error, load));
    }
  };
  const resend = async (commitment) => {
    try {
      await send("POST", `/commitments/${commitment.id}/resend`);
      notice(`The report is on its way to ${commitment.requester}.`);
    } catch (error) {
      notice(error.message, { bad: true });
    }
    await load();
  };
  state.addEventListener("change", load);
  await repeatedly(AGAIN, load, leave);
}

function columns(resend) {
  return [
    {
      title: "Requester",
      kind: "lead",
      cell: (each) => [
        h("span", { class: "strong mono" }, each.requester),
        h("div", { class: "muted small" }, `#${each.id} · ${moment(each.requested_at)}`),
      ],
    },
    {
      title: "Instances",
      cell: (each) => [
        plural(each.number_of_instances, "instance"),
        each.number_failed > 0 && h("span", { class: "text-bad" }, `, ${count(each.number_failed)} failed`),
      ],
    },
    {
      title: "State",
      cell: (each) => [
        h("span", { class: `badge ${LOOKS[each.state] ?? ""}` }, each.state),
        h("div", { class: "muted small" }, MEANINGS[each.state] ?? ""),
      ],
    },
    { title: "Last problem", cell: (each) => h("span", { class: "small" }, each.problem) },
    {
      title: "Actions",
      kind: "actions",
      cell: (each) =>
        h(
          "span",
          { class: "row-actions" },
          rowButton("Details", "details", () => details(each)),
          ["parked", "reported", "reporting"].includes(each.state) &&
            rowButton("Send again", "resend", () => resend(each)),
        ),
    },
  ];
}

async function details({ id }) {
  try {
    const found = await json(`${API}/commitments/${id}`);
    const facts = [
      ["Transaction", h("span", { class: "mono small" }, found.transaction_uid)],
      ["State", `${found.state}: ${MEANINGS[found.state] ?? ""}`],
      ["Attempts", String(found.attempts)],
      found.problem && ["Last problem", found.problem],
      found.delivered_by && ["Delivered on", `the ${found.delivered_by} association`],
      found.give_up_at && ["Tried until", moment(found.give_up_at)],
      found.reported_at && ["Reported", moment(found.reported_at, true)],
    ];
    const failed = found.instances.filter(({ outcome }) => outcome === "failed");
    infoDialog(
      `Commitment ${id}`,
      h(
        "div",
        { class: "dialog-body" },
        h(
          "dl",
          { class: "definition" },
          facts.filter(Boolean).map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]),
        ),
        h(
          "h3",
          {},
          failed.length ? `${plural(failed.length, "instance")} failed` : plural(found.instances.length, "instance"),
        ),
        h(
          "ul",
          { class: "failures" },
          (failed.length ? failed : found.instances)
            .slice(0, 500)
            .map((each) =>
              h(
                "li",
                {},
                h("span", { class: "mono small" }, each.sop_instance_uid),
                h("span", {}, each.meaning || each.outcome),
              ),
            ),
        ),
      ),
      { wide: true },
    );
  } catch (error) {
    notice(error.message, { bad: true });
  }
}
