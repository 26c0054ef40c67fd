// Jobs: background work, how far it is, and what can be done about it.
import { infoDialog } from "./dialogs.js";
import { fill, h, ICONS, repeatedly } from "./dom.js";
import { count, moment, plural } from "./format.js";
import { API, isAbort, json, send } from "./http.js";
import { emptiness, failure, notice } from "./notices.js";
import { address } from "./router.js";
import { subsections } from "./sections.js";
import { replaceTable, rowButton, table } from "./table.js";

const AGAIN = 2000;
const LOOKS = {
  queued: "",
  running: "accent",
  waiting: "warn",
  done: "good",
  failed: "bad",
  parked: "bad",
  cancelled: "",
};
const OPEN = ["queued", "running", "waiting"];
const AGAIN_FROM = ["waiting", "failed", "parked", "cancelled"];
const KINDS = { send: "Send", pull: "Fetch", availability: "Announce" };

/** Show the jobs. */
export async function jobsPage(main, asked, leave) {
  const place = h("div", {});
  const state = h(
    "select",
    { "aria-label": "State" },
    [
      ["", "Every state"],
      [OPEN.join(","), "Not over"],
      ["failed,parked", "Failed or given up"],
      ["done", "Done"],
      ["cancelled", "Cancelled"],
    ].map(([value, title]) => h("option", { value }, title)),
  );
  fill(
    main,
    h("div", { class: "page-head" }, h("h1", { tabindex: "-1" }, "Jobs")),
    subsections("jobs", "jobs"),
    h("form", { class: "simple-filters" }, state),
    place,
  );
  const load = async () => {
    try {
      const jobs = await json(`${API}/jobs?limit=200${state.value ? `&state=${state.value}` : ""}`, { signal: leave });
      if (!jobs.length)
        fill(place, emptiness(ICONS.send, "No jobs", "Sending a study to a peer, or fetching one, makes a job."));
      else replaceTable(place, table("Jobs", columns(act), jobs));
    } catch (error) {
      if (!isAbort(error)) fill(place, failure(error, load));
    }
  };
  const act = async (method, path, said) => {
    try {
      await send(method, path);
      notice(said);
    } catch (error) {
      notice(error.message, { bad: true });
    }
    await load();
  };
  state.addEventListener("change", load);
  await repeatedly(AGAIN, load, leave);
}

function columns(act) {
  return [
    {
      title: "Job",
      kind: "lead",
      cell: (job) => [
        h("span", { class: "strong" }, `${KINDS[job.kind] ?? job.kind} `),
        h("span", { class: "muted" }, `#${job.id}`),
        h("div", { class: "muted small" }, moment(job.created_at)),
      ],
    },
    { title: "Peer", cell: ({ parameters }) => parameters.peer && h("span", { class: "mono" }, parameters.peer) },
    { title: "What", cell: whatOf },
    { title: "State", cell: (job) => h("span", { class: `badge ${LOOKS[job.state] ?? ""}` }, job.state) },
    { title: "Progress", cell: progressOf },
    {
      title: "Actions",
      kind: "actions",
      cell: (job) =>
        h(
          "span",
          { class: "row-actions" },
          (job.progress.failures.length > 0 || job.error) && rowButton("Details", "details", () => details(job)),
          AGAIN_FROM.includes(job.state) &&
            rowButton("Retry", "retry", () => act("POST", `/jobs/${job.id}/retry`, `Job ${job.id} is tried again.`), {
              "aria-label": `Retry job ${job.id}`,
            }),
          OPEN.includes(job.state) &&
            rowButton("Cancel", "cancel", () => act("DELETE", `/jobs/${job.id}`, `Job ${job.id} is cancelled.`), {
              "aria-label": `Cancel job ${job.id}`,
            }),
        ),
    },
  ];
}

function whatOf({ parameters }) {
  // What is to be sent or fetched is a list, what is to be announced one study.
  const entities = parameters.entities ?? [parameters];
  const studies = [...new Set(entities.map((entity) => entity.study_instance_uid).filter(Boolean))];
  if (studies.length !== 1) return studies.length ? plural(studies.length, "study", "studies") : "";
  const [{ series_instance_uid, sop_instance_uid }] = entities;
  const parts = series_instance_uid && plural(entities.length, "series", "series");
  const what = sop_instance_uid ? plural(entities.length, "instance") : parts || "1 study";
  const query = { series: entities.length === 1 ? series_instance_uid : "" };
  return h("a", { href: address(["studies", studies[0]], query) }, what);
}

function progressOf({ progress, error }) {
  const settled = progress.done + progress.failed;
  const share = progress.total ? settled / progress.total : 0;
  const meter =
    progress.total !== null &&
    h(
      "div",
      {
        class: `meter${progress.failed ? " bad" : share === 1 ? " good" : ""}`,
        role: "progressbar",
        "aria-label": "Progress",
        "aria-valuemin": "0",
        "aria-valuemax": String(progress.total),
        "aria-valuenow": String(settled),
      },
      h("span", {}),
    );
  if (meter) meter.firstElementChild.style.width = `${(100 * share).toFixed(1)}%`;
  const failed = progress.failed ? `, ${count(progress.failed)} failed` : "";
  const said = progress.total === null ? "Not begun" : `${count(progress.done)} of ${count(progress.total)}${failed}`;
  return h(
    "div",
    { class: "progress" },
    meter,
    h("span", { class: "small" }, said),
    error && h("span", { class: "small text-bad job-error" }, error),
  );
}

function details(job) {
  const failures = job.progress.failures;
  infoDialog(
    `Job ${job.id}`,
    h(
      "div",
      { class: "dialog-body" },
      h(
        "dl",
        { class: "definition" },
        [
          ["State", job.state],
          ["Attempts", String(job.attempts)],
          job.error && ["Last attempt", job.error],
          OPEN.includes(job.state) && ["Next attempt", moment(job.next_attempt_at, true)],
          job.finished_at && ["Over since", moment(job.finished_at, true)],
        ]
          .filter(Boolean)
          .map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]),
      ),
      failures.length > 0 &&
        h("h3", {}, failures.length < job.progress.failed ? `The first ${failures.length} that failed` : "What failed"),
      failures.length > 0 &&
        h(
          "ul",
          { class: "failures" },
          failures.map(({ item, error }) =>
            h("li", {}, h("span", { class: "mono small" }, item), h("span", {}, error)),
          ),
        ),
    ),
    { wide: true },
  );
}
