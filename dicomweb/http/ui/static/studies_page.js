// The list of studies: found while somebody types, page by page, and up to date by itself.
import { debounced, fill, h, icon, ICONS, repeatedly } from "./dom.js";
import { count, plural } from "./format.js";
import { API, isAbort, json, ROOT } from "./http.js";
import { live } from "./live.js";
import { announce, emptiness, failure } from "./notices.js";
import { onePage } from "./pages_of_results.js";
import { address, go, list } from "./router.js";
import { server } from "./server.js";
import { filterForm, filtersOf, isFiltered, parametersOf, partsOf } from "./study_filters.js";
import { NEWEST, studyTable } from "./study_table.js";
import { chooseFiles } from "./uploads.js";

const PAGE_SIZE = 50;
const NEWS_PAUSE = 700;
const NEWS_MOST = 2500;
const COUNTS_EVERY = 8000; // what counts the archive may be some seconds behind what has changed
const SLOW = 150; // milliseconds after which a search shows that it goes on

/** Show the list. */
export function studiesPage(main, asked, leave) {
  const page = new StudiesPage(asked, leave);
  fill(main, page.elements);
  document.addEventListener("keydown", (event) => page.key(event), { signal: leave });
  const look = debounced(NEWS_PAUSE, () => leave.aborted || page.load(true), NEWS_MOST);
  const heard = ({ detail }) => {
    if (detail.kind === "instance.stored") page.arrived.add(detail.study_instance_uid);
    look();
  };
  live.addEventListener("change", heard, { signal: leave });
  page.load();
  repeatedly(COUNTS_EVERY, () => page.modalities(), leave);
  return (again) => page.ask(again);
}

class StudiesPage {
  arrived = new Set(); // studies that something came in of since the list was last shown
  #filters;
  #order;
  #cursors = [null]; // where each page begins, as far as that is known
  #page = 0;
  #shown = null; // studies of the page that is shown
  #total = 0;
  #waiting = null; // what aborts the search that goes on
  #asking = false; // whether that search is one of the reader's own
  #missed = false; // whether something changed meanwhile

  constructor(asked, leave) {
    this.#read(asked);
    if (list.opened && list.search === this.#search()) this.#return();
    this.total = h("p", { class: "total muted" }, " ");
    this.table = studyTable((key) => this.#sort(key));
    this.form = filterForm(this.#filters, (filters) => {
      this.#filters = filters;
      this.#choose();
    });
    this.note = h("div", {});
    this.card = h("div", { class: "card study-list" }, this.table.element, this.note);
    this.earlier = this.#turner(-1, icon(ICONS.back), "Previous");
    this.later = this.#turner(1, "Next", icon(ICONS.next));
    this.range = h("span", { class: "muted" });
    this.pager = h("nav", { class: "pager", "aria-label": "Pages of results" }, this.earlier, this.range, this.later);
    const head = h("div", { class: "page-head" }, h("h1", { tabindex: "-1" }, "Studies"), this.total);
    const advice = h("p", { class: "note warn", role: "status" });
    const advise = () => {
      advice.hidden = !server.advice;
      advice.textContent = server.advice;
    };
    server.addEventListener("told", advise, { signal: leave });
    advise();
    this.elements = [head, advice, this.form, this.card, this.pager];
    this.pager.hidden = true;
    this.table.waiting();
    this.table.order(this.#order);
    leave.addEventListener("abort", () => {
      this.#waiting?.abort();
      Object.assign(list, { search: this.#search(), page: this.#page, cursors: this.#cursors });
    });
  }

  /** Show what an address asks for. */
  ask(asked) {
    this.#read(asked);
    this.form.showFilters(this.#filters);
    this.table.order(this.#order);
    return this.load();
  }

  /**
   * Search, and return whether the studies are shown; quietly, when something has changed: nobody asked, so nobody is
   * told, and a failure is no news. What the reader has asked for is never given up for that.
   */
  async load(quietly = false) {
    if (quietly && this.#asking) {
      this.#missed = true;
      return false;
    }
    this.#waiting?.abort();
    const { signal } = (this.#waiting = new AbortController());
    this.#asking = !quietly;
    try {
      this.#show(await this.#find(signal, quietly), quietly);
      return true;
    } catch (error) {
      if (!isAbort(error) && !(quietly && this.#shown)) this.#fail(error);
      return false;
    } finally {
      if (!signal.aborted) this.#answered();
    }
  }

  /** Show what modalities there are; the list is of use without them. */
  async modalities() {
    try {
      this.form.showModalities(await json(`${API}/modalities`));
    } catch {
      // It is asked again soon.
    }
  }

  /** What keys do anywhere on the page. */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const typing = event.target.closest?.("input, select, textarea");
    const searching = typing?.type === "search" && this.form.contains(typing);
    const { name } = this.form.elements;
    if (event.key === "/" && !typing) {
      event.preventDefault();
      name.select();
    } else if (event.target === document.body && /^[\p{L}\p{N}]$/u.test(event.key)) {
      name.select(); // whoever types, or has a barcode read, means the first box
    } else if (event.key === "Escape" && searching && typing.value) {
      typing.value = "";
      this.form.requestSubmit();
    } else if (event.key === "Escape" && typing) {
      typing.blur();
    } else if (event.key === "Escape") {
      name.focus();
    } else if (event.key === "ArrowDown" && (searching || event.target === document.body)) {
      event.preventDefault();
      this.table.focusFirst();
    }
  }

  // What changed while the reader's own search went on may not be in what it found.
  #answered() {
    this.#asking = false;
    const missed = this.#missed;
    this.#missed = false;
    if (missed) this.load(true);
  }

  #read(asked) {
    this.#filters = filtersOf(asked);
    this.#order = asked.query.get("sort") || NEWEST;
    this.#begin();
  }

  // Another search begins with its first page; whoever leaves the list comes back to this one.
  #begin() {
    const { query, search } = partsOf(this.#filters);
    list.hash = address(["studies"], { ...query, sort: this.#order === NEWEST ? "" : this.#order });
    list.state = { search };
    this.#cursors = [null];
    this.#page = 0;
  }

  // Cursors are of one search, whatever page they lead to.
  #search() {
    return [...parametersOf(this.#filters), this.#order].join("&");
  }

  // Whoever comes back from a study finds the page it was on.
  #return() {
    this.#page = list.page;
    this.#cursors = list.cursors;
  }

  #sort(key) {
    const first = key === "StudyDate" ? `-${key}` : key; // of dates the newest are wanted, of names the first
    const other = first === key ? `-${key}` : key;
    this.#order = this.#order === first ? other : first;
    this.#choose();
  }

  // Another choice is another first page, and another address, but no other entry in the history.
  #choose() {
    this.#begin();
    go(list.hash, { replace: true, state: list.state });
    this.table.order(this.#order);
    this.load();
  }

  #turner(by, ...content) {
    return h("button", { type: "button", class: "button", on: { click: () => this.#turn(by) } }, content);
  }

  async #turn(by) {
    const to = this.#page + by;
    // The second press of a double click may come before it is known where the page after begins, if there is one.
    if (this.#asking || to < 0 || (to > 0 && !this.#cursors[to])) return;
    this.#page = to;
    if (!(await this.load())) return;
    scrollTo({ top: 0 });
    this.table.focusFirst();
  }

  async #find(signal, quietly) {
    const slow = setTimeout(() => !quietly && this.#shown && this.card.setAttribute("aria-busy", "true"), SLOW);
    try {
      const answer = await onePage(this.#url(false), signal);
      // What begins with what was typed is rarely missed; when there is nothing, any part will do.
      const found = answer.found.length || !this.#filters.name.trim();
      if (!answer.found.length && this.#page) {
        this.#page = 0; // everything on the page is gone
        return await this.#find(signal, quietly);
      }
      return found ? answer : await onePage(this.#url(true), signal);
    } finally {
      clearTimeout(slow);
    }
  }

  #url(contains) {
    const parameters = [...parametersOf(this.#filters, { contains }), "includefield=StudyDescription"];
    parameters.push("includetotal=true", `limit=${PAGE_SIZE}`);
    // The order of its own accord is the newest first, which an index knows.
    if (this.#order === "StudyDate") parameters.push("orderby=StudyDate,StudyTime");
    else if (this.#order !== NEWEST) parameters.push(`orderby=${this.#order}`);
    const cursor = this.#cursors[this.#page];
    if (cursor) parameters.push(`cursor=${encodeURIComponent(cursor)}`);
    return `${ROOT}/studies?${parameters.join("&")}`;
  }

  #show({ found, total, cursor }, quietly) {
    const isNew = quietly && !this.#page && total > this.#total;
    this.#shown = found;
    this.#total = total ?? found.length;
    this.#cursors[this.#page + 1] = cursor;
    this.card.removeAttribute("aria-busy");
    this.table.element.hidden = !found.length;
    if (!quietly) this.arrived.clear();
    this.table.show(found, this.arrived);
    fill(this.note, found.length ? null : this.#nothing());
    const first = this.#page * PAGE_SIZE;
    this.total.textContent = `${count(this.#total)}${isFiltered(this.#filters) ? " found" : ""}`;
    this.range.textContent = `${count(first + 1)}–${count(first + found.length)} of ${count(this.#total)}`;
    if (list.opened && !this.form.contains(document.activeElement)) this.table.focus(list.opened);
    list.opened = "";
    this.pager.hidden = !this.#page && !cursor;
    this.earlier.disabled = !this.#page;
    this.later.disabled = !cursor;
    if (isNew) announce("A new study has come in");
    else if (!quietly) announce(found.length ? plural(this.#total, "study", "studies") : "Nothing found");
  }

  #fail(error) {
    this.#shown = null;
    this.card.removeAttribute("aria-busy");
    this.table.element.hidden = true;
    this.pager.hidden = true;
    const note = failure(error, () => this.load());
    fill(this.note, note);
  }

  #nothing() {
    if (isFiltered(this.#filters)) {
      const hint = "No study matches all of this. Fewer letters, or fewer filters, find more.";
      return emptiness(ICONS.search, "Nothing found", hint);
    }
    const hint = "Drop files or folders anywhere on this page, or let a modality send them.";
    const upload = h(
      "button",
      { type: "button", class: "button primary", on: { click: chooseFiles } },
      "Upload images",
    );
    return emptiness(ICONS.images, "No studies yet", hint, upload);
  }
}
