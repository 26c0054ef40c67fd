// The series of a study with their thumbnails: a column, on a phone a strip.
import { h } from "./dom.js";
import { number, TAG, text } from "./dicom.js";
import { plural } from "./format.js";
import { ROOT } from "./http.js";

// Modalities of what is written about pictures, or drawn over them.
const NO_PICTURES = new Set(
  `ANN ASMT AU CTPROTOCOL DOC ECG EEG EMG EOG EPS FID HD IOL KO M3D OPV PLAN POS PR REG RESP RTDOSE RTINTENT RTPLAN
  RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SMR SR STAIN TEXTUREMAP XAPROTOCOL`.split(/\s+/),
);

/** Make the list; `chosen` hears of the series that a person chooses. */
export function seriesList(study, chosen) {
  const made = new Map(); // UID to {series, item}
  const element = h("ul", { class: "series", "aria-label": "Series" });
  const list = {
    element,
    first: () => {
      const isPicture = ([, { series }]) => !NO_PICTURES.has(text(series, TAG.Modality));
      return ([...made].find(isPicture) ?? [...made][0])?.[0] ?? null;
    },
    find: (uid) => made.get(uid)?.series ?? null,
  };
  list.show = (all) => {
    const focused = element.contains(document.activeElement) ? document.activeElement : null;
    for (const [place, series] of all.entries()) {
      const uid = text(series, TAG.SeriesInstanceUID);
      const known = made.get(uid);
      const item = itemOf(study, uid, series);
      if (known) {
        const written = item.querySelector(".series-text");
        known.item.querySelector(".series-text").replaceWith(written);
        known.series = series;
      } else {
        if (made.size && element.children.length) item.classList.add("new");
        made.set(uid, { series, item });
      }
      const wanted = known?.item ?? item;
      if (element.children[place] !== wanted) element.insertBefore(wanted, element.children[place] ?? null);
    }
    focused?.focus({ preventScroll: true }); // what is moved loses it
  };
  list.choose = (uid) => {
    for (const [each, { item }] of made) {
      const button = item.querySelector("button");
      if (each === uid) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    made.get(uid)?.item.scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  element.addEventListener("click", (event) => {
    const uid = event.target.closest("button")?.dataset.uid;
    if (!uid) return;
    chosen(uid);
  });
  element.addEventListener("keydown", (event) => {
    const buttons = [...element.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    const to = {
      ArrowDown: at + 1,
      ArrowRight: at + 1,
      ArrowUp: at - 1,
      ArrowLeft: at - 1,
      Home: 0,
      End: buttons.length - 1,
    }[event.key];
    if (to === undefined || !buttons[to]) return;
    event.preventDefault();
    buttons[to].focus();
  });
  return list;
}

function itemOf(study, uid, series) {
  const instances = number(series, TAG.NumberOfSeriesRelatedInstances) ?? 0;
  const image = h("img", {
    class: "thumbnail",
    src: `${ROOT}/studies/${study}/series/${uid}/thumbnail?viewport=144,144`,
    alt: "",
    width: 72,
    height: 72,
    loading: "lazy",
    decoding: "async",
  });
  const title = text(series, TAG.SeriesDescription) || text(series, TAG.BodyPartExamined) || "No description";
  const place = text(series, TAG.SeriesNumber);
  const words = h(
    "span",
    { class: "series-text" },
    h("span", { class: "series-title" }, title),
    h(
      "span",
      { class: "small muted" },
      [place && `No. ${place}`, plural(instances, "instance")].filter(Boolean).join(" · "),
    ),
    h("span", { class: "badge" }, text(series, TAG.Modality) || "?"),
  );
  return h("li", {}, h("button", { type: "button", class: "series-item", data: { uid } }, image, words));
}
