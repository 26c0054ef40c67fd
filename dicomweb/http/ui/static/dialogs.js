// Dialogs: the browser's own, so that focus stays inside, Esc closes and focus returns to where it was.
import { fill, h, icon, ICONS } from "./dom.js";

let numbers = 0;

/** Open a dialog with a form. `submit` gets the form's element; what it throws is shown, else the dialog closes. */
export function formDialog({ title, body, action, danger = false, wide = false, submit }) {
  const wrong = h("p", { class: "note bad", role: "alert", hidden: true });
  const confirm = h("button", { type: "submit", class: `button primary${danger ? " danger" : ""}` }, action);
  const cancel = h("button", { type: "button", class: "button", on: { click: () => dialog.close() } }, "Cancel");
  const form = h(
    "form",
    { class: "dialog-form", novalidate: true },
    head(title, () => dialog.close()),
    h("div", { class: "dialog-body" }, body, wrong),
    h("div", { class: "dialog-foot" }, cancel, confirm),
  );
  const dialog = shell(form, title, wide);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!form.reportValidity()) return;
    confirm.disabled = true;
    try {
      await submit(form);
      dialog.close();
    } catch (error) {
      wrong.textContent = error.message;
      wrong.hidden = false;
      wrong.scrollIntoView({ block: "nearest" });
    } finally {
      confirm.disabled = false;
    }
  });
  return dialog;
}

/** Open a dialog that only shows something. */
export function infoDialog(title, body, { wide = false } = {}) {
  return shell([head(title, () => dialogOf(body).close()), body], title, wide);
}

/** Ask before something that cannot be undone. */
export function confirmDialog(title, sentence, action, submit) {
  return formDialog({ title, body: h("p", {}, sentence), action, danger: true, submit });
}

/** A labelled control with what is to be known about it. */
export function field(label, control, hint = "", wide = false) {
  control.id ||= `field-${(numbers += 1)}`;
  const told = hint && h("span", { class: "hint", id: `${control.id}-hint` }, hint);
  if (told) control.setAttribute("aria-describedby", told.id);
  return h(
    "div",
    { class: `field${wide ? " wide" : ""}` },
    h("label", { class: "label", for: control.id }, label),
    control,
    told,
  );
}

/** A labelled check box. */
export function check(label, name, checked, attributes = {}) {
  return h(
    "label",
    { class: "check" },
    h("input", { type: "checkbox", name, checked, ...attributes }),
    h("span", {}, label),
  );
}

function head(title, close) {
  return h(
    "div",
    { class: "dialog-head" },
    h("h2", {}, title),
    h(
      "button",
      { type: "button", class: "button quiet square", "aria-label": "Close", on: { click: close } },
      icon(ICONS.close),
    ),
  );
}

function shell(content, title, wide) {
  const dialog = fill(h("dialog", { class: wide ? "wide" : "", "aria-label": title }), content);
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("pointerdown", (event) => event.target === dialog && dialog.close());
  dialog.showModal();
  dialog.querySelector(".dialog-body")?.querySelector("input:not([type=hidden]), select, textarea, button, a")?.focus();
  return dialog;
}

function dialogOf(element) {
  return element.closest("dialog");
}
