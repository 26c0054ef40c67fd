// Requests to the archive and what goes wrong with them. Addresses are relative to this page: proxies may move both.

const HERE = new URL(".", document.baseURI);

/** The DICOMweb root and the administration. */
export const ROOT = new URL("../dicom-web", HERE).href;
export const API = new URL("../api", HERE).href;

/** A request that failed; the message is a sentence for people. */
export class Problem extends Error {
  constructor(status, detail, members = {}) {
    super(detail);
    this.status = status;
    this.members = members;
  }
}

/** Ask, and return the response when it is a success. */
export async function request(url, options = {}) {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The archive cannot be reached. Is it running, and the network up?");
  }
  if (response.ok) return response;
  throw await problemOf(response);
}

/** Ask for JSON. */
export async function json(url, options = {}) {
  const response = await request(url, options);
  return response.status === 204 ? null : response.json();
}

/** Send JSON to `/api` and return what it answers; every POST and PUT there must carry it. */
export function send(method, path, body = {}, { type = "application/json", headers = {}, signal } = {}) {
  const carries = method !== "DELETE";
  const options = { method, signal, headers: { ...headers, ...(carries ? { "Content-Type": type } : {}) } };
  return json(API + path, carries ? { ...options, body: JSON.stringify(body) } : options);
}

/** Whether an error only says that nobody waits for the answer any more. */
export function isAbort(error) {
  return error?.name === "AbortError";
}

async function problemOf(response) {
  try {
    const document = await response.json();
    if (typeof document.detail === "string") return new Problem(response.status, document.detail, document);
  } catch {
    // No problem document: the status has to do.
  }
  return new Problem(response.status, `The archive answered ${response.status} ${response.statusText}.`);
}
