// Searches come in pages; each names the next one by a cursor in its Link header (PS3.18 8.3.4.4).
import { request, ROOT } from "./http.js";

const ACCEPT = { Accept: "application/dicom+json" };

/** Search once: what was found, how many there are in all when that was asked for, and where the next page begins. */
export async function onePage(url, signal) {
  const response = await request(url, { signal, headers: ACCEPT });
  const found = response.status === 204 ? [] : await response.json();
  const total = response.headers.get("x-total-count");
  const link = /<([^>]*)>\s*;\s*rel="next"/.exec(response.headers.get("link") ?? "");
  // The host in the link may be one that only the server knows itself by; its cursor is all that is needed.
  const cursor = link ? new URL(link[1], ROOT).searchParams.get("cursor") : null;
  return { found, total: total === null ? null : Number(total), cursor };
}

/** Search until there is no next page; the address has a query already. */
export async function everyPage(url, signal) {
  const all = [];
  for (let next = url; next;) {
    const { found, cursor } = await onePage(next, signal);
    all.push(...found);
    next = cursor && found.length ? `${url}&cursor=${encodeURIComponent(cursor)}` : null;
  }
  return all;
}
