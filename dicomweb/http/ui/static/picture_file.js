// A picture as a file: as it is shown, with every pixel it has, under a name that says nothing of the patient.
import { TAG, text } from "./dicom.js";
import { pictureUrl } from "./frames.js";
import { request } from "./http.js";
import { notice } from "./notices.js";

/** Save a frame with its window as PNG. */
export async function savePicture(frame, window, modality, series) {
  try {
    const response = await request(pictureUrl(frame, { window }), { headers: { Accept: "image/png" } });
    const url = URL.createObjectURL(await response.blob());
    const link = document.createElement("a");
    Object.assign(link, { href: url, download: fileName(frame, modality, series) });
    link.click();
    // The browser reads it later.
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (error) {
    notice(error.message, { bad: true });
  }
}

/** The name of the file: modality, number of the series and of the instance, and of the frame when it has several. */
export function fileName(frame, modality, series) {
  const parts = [modality || "picture", text(series, TAG.SeriesNumber), frame.instanceNumber];
  if (frame.frames > 1) parts.push(`frame ${frame.number}`);
  return `${parts
    .filter(Boolean)
    .join("-")
    .replace(/[^\w-]+/g, "-")}.png`;
}
