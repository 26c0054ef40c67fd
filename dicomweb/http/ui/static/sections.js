// Links between pages that belong together.
import { h } from "./dom.js";
import { address } from "./router.js";

const TOGETHER = {
  worklist: [
    ["worklist", "Scheduled"],
    ["steps", "Performed"],
  ],
  jobs: [
    ["jobs", "Jobs"],
    ["commitments", "Storage commitments"],
  ],
};

/** The links of a group, the page that is shown among them. */
export function subsections(group, shown) {
  return h(
    "nav",
    { class: "subsections", "aria-label": "Views" },
    TOGETHER[group].map(([page, title]) =>
      h("a", { href: address([page]), "aria-current": page === shown ? "page" : null }, title),
    ),
  );
}
