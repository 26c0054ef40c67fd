// The frame around the pages: which one is shown, colours, uploads, what is live.
import { ICONS, repeatedly } from "./dom.js";
import { API, isAbort, json } from "./http.js";
import { commitmentsPage } from "./commitments_page.js";
import { jobsPage } from "./jobs_page.js";
import { live } from "./live.js";
import { announce, emptiness, failure } from "./notices.js";
import { peersPage } from "./peers_page.js";
import { route } from "./router.js";
import { stepsPage } from "./steps_page.js";
import { studiesPage } from "./studies_page.js";
import { studyPage } from "./study_page.js";
import { systemPage } from "./system_page.js";
import { server } from "./server.js";
import { startUploads } from "./uploads.js";
import { worklistPage } from "./worklist_page.js";

const STATUS_EVERY = 60000;
const CHOICES = ["system", "light", "dark"];

// A page is a function of its place, the route and a signal that aborts when another one is shown. It returns what is
// to be done when only its parameters change, or nothing: then it is made anew.
const PAGES = {
  studies: { title: "Studies", section: "studies", show: studiesPage },
  study: { title: "Study", section: "studies", show: studyPage },
  worklist: { title: "Worklist", section: "worklist", show: worklistPage },
  steps: { title: "Performed steps", section: "worklist", show: stepsPage },
  peers: { title: "Peers", section: "peers", show: peersPage },
  jobs: { title: "Jobs", section: "jobs", show: jobsPage },
  commitments: { title: "Storage commitments", section: "jobs", show: commitmentsPage },
  system: { title: "System", section: "system", show: systemPage },
};

const main = document.getElementById("main");
let shown = { key: null, leave: null, update: null };

async function navigate() {
  const asked = route();
  const name = asked.path[0] === "studies" && asked.path[1] ? "study" : (asked.path[0] ?? "studies");
  const page = PAGES[name];
  const key = asked.path.join("/") || "studies";
  if (page && key === shown.key && shown.update) return shown.update(asked);
  shown.leave?.abort();
  const leave = new AbortController();
  const first = shown.key === null;
  shown = { key, leave, update: null };
  main.replaceChildren();
  scrollTo(0, 0);
  document.title = `${page?.title ?? "Not found"} · dicomweb`;
  for (const link of document.querySelectorAll(".sections a")) {
    if (link.dataset.section === page?.section) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!page) return main.append(emptiness(ICONS.search, "There is no such page", "The address may be mistyped."));
  try {
    const update = await page.show(main, asked, leave.signal);
    if (shown.key === key) shown.update = update ?? null;
  } catch (error) {
    if (!isAbort(error) && !leave.signal.aborted) main.append(failure(error, navigateAnew));
  }
  if (!first && !leave.signal.aborted) {
    // Whoever listens hears where he is, and the next Tab goes on from there, unless he has gone on already.
    if (!main.contains(document.activeElement)) {
      (main.querySelector("h1[tabindex]") ?? main).focus({ preventScroll: true });
    }
    announce(page.title);
  }
}

function navigateAnew() {
  shown.key = null;
  navigate();
}

function startColours() {
  const button = document.getElementById("theme");
  const root = document.documentElement;
  const say = () => button.setAttribute("aria-label", `Colours: ${root.dataset.theme ?? "as the system has them"}`);
  say();
  button.addEventListener("click", () => {
    const next = CHOICES[(CHOICES.indexOf(root.dataset.theme ?? "system") + 1) % CHOICES.length];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      localStorage.setItem("dicomweb.theme", next);
    } catch {
      // It holds for this page then.
    }
    say();
    announce(button.getAttribute("aria-label"));
  });
}

function startStatus() {
  const dot = document.querySelector('[data-section="jobs"] .dot');
  repeatedly(
    STATUS_EVERY,
    async () => {
      try {
        const status = await json(`${API}/status`);
        server.tell({ viewer: status.viewer, version: status.version, advice: status.archive?.advice ?? "" });
        const stuck = (status.jobs.failed ?? 0) + (status.jobs.parked ?? 0) + (status.commitments.parked ?? 0);
        dot.hidden = !stuck;
        dot.title = stuck ? "Some jobs or commitments need attention" : "";
      } catch {
        // The next one may be answered; the page of the system says what is wrong.
      }
    },
    new AbortController().signal,
  );
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the part after # is the page
  main.focus();
});
addEventListener("hashchange", navigate);
addEventListener("popstate", () => shown.update && navigate());
startColours();
startUploads();
startStatus();
live.start();
navigate();
