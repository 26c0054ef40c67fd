// What people carry elsewhere, such as UIDs and addresses: with a button that copies it, and says that it did.
import { fill, h, icon, ICONS } from "./dom.js";
import { announce, notice } from "./notices.js";

const SAID_FOR = 1600;

/** Show a text with a button that copies it; `what` it is stands in the button's name. */
export function copied(value, what, shown = h("code", {}, value)) {
  const button = h("button", { type: "button", class: "button compact quiet square copy" }, icon(ICONS.copy));
  const name = (text) => {
    button.title = text;
    button.setAttribute("aria-label", text);
  };
  const rest = () => {
    name(`Copy ${what}`);
    fill(button, icon(ICONS.copy));
    button.classList.remove("done");
  };
  button.addEventListener("click", async (event) => {
    event.stopPropagation(); // it may stand in something that opens when it is pressed
    if (!(await copy(value)))
      return notice("It could not be copied: mark it, and copy it by the keyboard.", { bad: true });
    name("Copied");
    fill(button, icon(ICONS.check));
    button.classList.add("done");
    announce(`Copied ${what}`);
    setTimeout(rest, SAID_FOR);
  });
  rest();
  return h("span", { class: "copied" }, shown, button);
}

// Browsers have a clipboard on https and on the machine itself only; elsewhere what is marked can be copied.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const focused = document.activeElement;
    const field = h("textarea", { value: text, class: "unseen", "aria-hidden": "true" });
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    focused?.focus();
    return done;
  }
}
