// A study: whose it is, its series with thumbnails, a quick look at the pictures, and everything that is written in it.
import { debounced, fill, h, ICONS } from "./dom.js";
import { number, TAG } from "./dicom.js";
import { json, ROOT } from "./http.js";
import { live } from "./live.js";
import { emptiness } from "./notices.js";
import { everyPage } from "./pages_of_results.js";
import { address, go, list as lastList } from "./router.js";
import { seriesList } from "./series_list.js";
import { server } from "./server.js";
import { studyHead } from "./study_head.js";
import { StudyView } from "./study_view.js";

const NEWS_PAUSE = 900;
const NEWS_MOST = 3000;

/** Show a study. */
export async function studyPage(main, asked, leave) {
  const uid = asked.path[1];
  lastList.opened = uid;
  let [study, series] = await load(uid, leave);
  if (!study) {
    const back = h("a", { class: "button", href: address(["studies"]) }, "All studies");
    const sentence = "It may have been deleted, or the address is mistyped.";
    return void main.append(emptiness(ICONS.search, "There is no such study", sentence, back));
  }
  const view = new StudyView(uid, leave);
  const list = seriesList(uid, (chosen) => {
    const tab = view.tab === "metadata" ? view.tab : "";
    go(address(["studies", uid], { series: chosen, tab }), { replace: true, state: history.state ?? {} });
    open(chosen);
  });
  let shown = null;
  const open = (chosen) => {
    if (shown === chosen) return;
    shown = chosen;
    list.choose(chosen);
    view.open(list.find(chosen));
  };
  const head = h("div", { class: "study-head" });
  const showHead = () => {
    const focused = head.contains(document.activeElement) ? document.activeElement : null;
    fill(
      head,
      studyHead(uid, study, () => view.series),
    );
    view.look.identify(study);
    const again = focused && [...head.querySelectorAll(focused.localName)].find((each) => each.isEqualNode(focused));
    again?.focus({ preventScroll: true });
  };
  server.addEventListener("told", showHead, { signal: leave });
  showHead();
  list.show(series);
  view.all = series;
  fill(main, head, h("div", { class: "study-body" }, list.element, view.element));
  view.select(asked.query.get("tab") ?? "picture");
  const wanted = asked.query.get("series");
  open(list.find(wanted) ? wanted : list.first());

  const refresh = debounced(
    NEWS_PAUSE,
    async () => {
      try {
        const [again, others] = await load(uid, leave);
        if (!again) return;
        study = again;
        showHead();
        list.show(others);
        view.all = others;
        list.choose(shown);
        const one = list.find(shown);
        if (one && number(one, TAG.NumberOfSeriesRelatedInstances) !== view.instances) view.open(one, true);
      } catch {
        // The next change, or a look by hand, will tell.
      }
    },
    NEWS_MOST,
  );
  const concerns = ({ detail }) => !detail.study_instance_uid || detail.study_instance_uid === uid;
  live.addEventListener("change", (event) => concerns(event) && refresh(), { signal: leave });
}

async function load(uid, signal) {
  if (!/^[0-9.]{1,64}$/.test(uid)) return [null, []];
  const nothing = (error) => (error.status === 404 ? [] : Promise.reject(error));
  const [studies, series] = await Promise.all([
    json(`${ROOT}/studies?StudyInstanceUID=${uid}&includefield=StudyDescription,PatientAge`, { signal }),
    everyPage(`${ROOT}/studies/${uid}/series?includefield=SeriesDescription,BodyPartExamined`, signal).catch(nothing),
  ]);
  return [studies?.[0] ?? null, series];
}
