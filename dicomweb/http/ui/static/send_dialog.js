// Sending to a peer: a job, so that it goes on whatever becomes of this page.
import { h } from "./dom.js";
import { TAG, text } from "./dicom.js";
import { field, formDialog } from "./dialogs.js";
import { API, json, send } from "./http.js";
import { notice } from "./notices.js";
import { address } from "./router.js";

/** Ask where to, and whether all of the study or the series that is shown. */
export async function sendDialog(study, series) {
  let peers;
  try {
    peers = await json(`${API}/peers`);
  } catch (error) {
    return notice(error.message, { bad: true });
  }
  if (!peers.length)
    return notice("There are no peers to send to yet.", { link: { href: address(["peers"]), text: "Add one" } });
  const peer = h(
    "select",
    { name: "peer" },
    peers.map(({ ae_title, description }) =>
      h("option", { value: ae_title }, description ? `${ae_title} — ${description}` : ae_title),
    ),
  );
  const name = series && (text(series, TAG.SeriesDescription) || text(series, TAG.Modality));
  const what = h(
    "select",
    { name: "what" },
    h("option", { value: "study" }, "The whole study"),
    series && h("option", { value: "series" }, `Only the series shown (${name})`),
  );
  return formDialog({
    title: "Send to a peer",
    body: [field("Peer", peer), field("What", what)],
    action: "Send",
    submit: async () => {
      const wanted =
        what.value === "series"
          ? { entities: [{ study_instance_uid: study, series_instance_uid: text(series, TAG.SeriesInstanceUID) }] }
          : { studies: [study] };
      const job = await send("POST", "/jobs", { kind: "send", peer: peer.value, ...wanted });
      notice(`Job ${job.id} sends it to ${peer.value}.`, { link: { href: address(["jobs"]), text: "Watch it" } });
    },
  });
}
