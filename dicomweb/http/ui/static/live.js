// What changes in the archive, as it happens. One stream a tab, and only while the tab is looked at: browsers open six
// connections to a server at most, and hidden tabs must not take them from the one that is read.
import { API } from "./http.js";

const AGAIN_AFTER = 15000;
const NEWS_SHOWN_FOR = 1200;

class Live extends EventTarget {
  #source = null;
  #last = null;
  #timer = 0;

  /** Begin to listen, for as long as the page lives. */
  start() {
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#stop() : this.#listen(true)));
    if (!document.hidden) this.#listen(false);
  }

  #listen(resumed) {
    this.#stop();
    let missed = resumed;
    const after = this.#last === null ? "" : `?after=${this.#last}`;
    this.#source = new EventSource(`${API}/changes/events${after}`);
    this.#source.onopen = () => {
      this.#state("on");
      // What changed while nothing was heard is not known, and what failed may work: whoever shows it looks again.
      if (missed) this.dispatchEvent(new CustomEvent("change", { detail: {} }));
      missed = false;
    };
    this.#source.onmessage = (event) => {
      this.#last = event.lastEventId;
      this.#state("news");
      this.dispatchEvent(new CustomEvent("change", { detail: JSON.parse(event.data) }));
    };
    this.#source.onerror = () => {
      missed = true;
      this.#state("off");
      if (this.#source?.readyState === EventSource.CLOSED) this.#timer = setTimeout(() => this.#again(), AGAIN_AFTER);
    };
  }

  // The archive takes no more listeners, or is away: whoever shows something looks now and then.
  #again() {
    this.dispatchEvent(new CustomEvent("change", { detail: {} }));
    this.#listen(true);
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #state(state) {
    const shown = document.getElementById("live-state");
    const text = state === "off" ? "Offline" : "Live";
    if (shown.dataset.state !== state) shown.dataset.state = state;
    shown.querySelector(".live-text").textContent = text;
    shown.title =
      state === "off" ? "No connection to the archive; it is tried again." : "New studies appear by themselves.";
    if (state === "news")
      setTimeout(() => shown.dataset.state === "news" && (shown.dataset.state = "on"), NEWS_SHOWN_FOR);
  }
}

export const live = new Live();
