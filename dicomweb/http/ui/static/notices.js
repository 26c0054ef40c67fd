// What happened, said shortly: shown for a while, and read out by screen readers.
import { fill, h, icon, ICONS } from "./dom.js";
import { live } from "./live.js";

const SHOWN_FOR = 6000;

/** Have a sentence read out. */
export function announce(sentence) {
  const region = document.getElementById("announcements");
  region.textContent = "";
  // The same sentence twice is read twice only when it was gone in between.
  setTimeout(() => (region.textContent = sentence), 50);
}

/** Show a sentence, with a link if there is somewhere to go. */
export function notice(sentence, { bad = false, link = null } = {}) {
  const close = h("button", { type: "button", "aria-label": "Dismiss" }, icon(ICONS.close));
  const shown = h(
    "div",
    { class: `notice${bad ? " bad" : ""}` },
    h("span", {}, sentence),
    link && h("a", { href: link.href }, link.text),
    close,
  );
  const remove = () => shown.remove();
  close.addEventListener("click", remove);
  const list = document.getElementById("notices");
  list.append(shown);
  while (list.children.length > 3) list.firstElementChild.remove();
  let timer = setTimeout(remove, bad ? 2 * SHOWN_FOR : SHOWN_FOR);
  shown.addEventListener("pointerenter", () => clearTimeout(timer));
  shown.addEventListener("pointerleave", () => (timer = setTimeout(remove, SHOWN_FOR)));
  announce(sentence);
}

/** A note that says what is wrong, with a way to try again, which is tried by itself when the archive is heard again. */
export function failure(error, retry) {
  const button =
    retry &&
    h("button", { type: "button", class: "button compact", on: { click: retry } }, icon(ICONS.retry), "Try again");
  const note = h(
    "div",
    { class: "empty", role: "alert" },
    h("h2", {}, "That did not work"),
    h("p", {}, error.message),
    button,
  );
  if (retry) live.addEventListener("change", () => note.isConnected && retry(), { once: true });
  return note;
}

/** What stands where there is nothing. */
export function emptiness(path, title, sentence, ...actions) {
  return fill(h("div", { class: "empty" }), icon(path), h("h2", {}, title), sentence && h("p", {}, sentence), actions);
}
