// What a quick look is made of: the stage with its corners, and the tools below it.
import { h, icon, ICONS, shape } from "./dom.js";

/** Make the parts, by name; `element` holds them all. */
export function quickLookParts(rates) {
  const stage = stageParts();
  const tools = toolParts(rates);
  const moving = h("div", { class: "tools moving" }, tools.player, tools.slider, tools.rate);
  const numbers = [
    h("label", { class: "tool-label" }, "C", tools.center),
    h("label", { class: "tool-label" }, "W", tools.width),
  ];
  const windowing = h("div", { class: "tools for-pictures", role: "group", "aria-label": "Window" }, tools.preset, numbers);
  const dragging = h(
    "div",
    { class: "segmented for-pictures", role: "group", "aria-label": "What a drag does" },
    tools.scrolls,
    tools.windows,
    tools.pans,
  );
  const zooming = h("div", { class: "segmented zooming for-pictures", role: "group", "aria-label": "Zoom" }, [
    tools.farther,
    tools.fitting,
    tools.nearer,
    tools.actual,
  ]);
  const ends = h("div", { class: "tools ends" }, tools.outlining, tools.saves, tools.larger);
  const toolbar = h("div", { class: "toolbar" }, moving, windowing, dragging, zooming, ends);
  return { ...stage, ...tools, element: h("div", { class: "quick-look" }, stage.stage, toolbar) };
}

function stageParts() {
  const canvas = h("canvas", { class: "picture", "aria-hidden": "true", width: 1, height: 1 });
  const drawing = shape("svg", { class: "outlines", preserveAspectRatio: "none", "aria-hidden": "true" });
  const sides = ["left", "right", "top", "bottom"];
  const edges = Object.fromEntries(sides.map((side) => [side, h("span", { class: `edge ${side}`, data: { side } })]));
  const parts = {
    plane: h("div", { class: "plane" }, canvas, drawing),
    legend: h("div", { class: "legend", role: "group", "aria-label": "Outlines", hidden: true }),
    corner: h("span", { class: "corner top-left" }),
    who: h("div", { class: "corner top-right who" }),
    place: h("span", { class: "corner bottom-left" }),
    level: h("span", { class: "corner bottom-right" }),
    wait: h("div", { class: "spinner picture-wait", hidden: true }),
    note: h("div", { class: "picture-note", hidden: true }),
  };
  const told = { role: "group", "aria-roledescription": "image viewer", "aria-label": "Picture" };
  const keys = { tabindex: "0", "aria-keyshortcuts": "ArrowUp ArrowDown Space Plus - F A" };
  const stage = h("div", { class: "stage", ...told, ...keys }, Object.values(edges), Object.values(parts));
  stage.prepend(parts.plane);
  return { ...parts, canvas, drawing, edges, stage };
}

function toolParts(rates) {
  const button = (attributes, ...content) => h("button", { type: "button", ...attributes }, content);
  const square = "button compact square";
  const number = (label, attributes) =>
    h("input", {
      type: "number",
      step: "any",
      required: true,
      "aria-label": label,
      class: "compact-input",
      ...attributes,
    });
  const pressed = { class: "button compact", "aria-pressed": "false" };
  return {
    slider: h("input", { type: "range", min: "1", max: "1", value: "1", class: "slider", "aria-label": "Frame" }),
    player: button({ class: square, "aria-label": "Play", "aria-pressed": "false" }, icon(ICONS.play, true)),
    rate: h(
      "select",
      { "aria-label": "Frames a second", class: "compact-select" },
      rates.map((rate) => h("option", { value: rate }, `${rate} fps`)),
    ),
    preset: h("select", { "aria-label": "Window preset", class: "compact-select wide" }),
    center: number("Window center", {}),
    width: number("Window width", { min: "1" }),
    scrolls: button({ ...pressed, data: { tool: "scroll" } }, "Scroll"),
    windows: button({ ...pressed, data: { tool: "window" } }, "Window"),
    pans: button({ ...pressed, data: { tool: "pan" }, title: "Also: middle button, Shift and arrows" }, "Move"),
    farther: button({ class: square, "aria-label": "Smaller", title: "Smaller (-)" }, icon(ICONS.minus)),
    fitting: button({ class: "button compact percent", "aria-label": "Fit", title: "Fit (F)" }, "100 %"),
    nearer: button({ class: square, "aria-label": "Larger", title: "Larger (+)" }, icon(ICONS.plus)),
    actual: button({ class: "button compact", "aria-label": "Actual size", title: "Actual size (A)" }, "1:1"),
    outlining: button(
      { ...pressed, class: "button compact for-pictures", title: "Segments and regions that are drawn on this series", hidden: true },
      "Outlines",
    ),
    saves: button(
      { class: `${square} for-pictures`, "aria-label": "Save as PNG", title: "Save as PNG", disabled: true },
      icon(ICONS.download),
    ),
    larger: button({ class: square, "aria-label": "Full screen" }, icon(ICONS.expand)),
  };
}
