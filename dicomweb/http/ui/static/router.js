// The part of the address after # says which page is shown. It never reaches the server, links work by themselves,
// and it holds no data of patients but UIDs: what is searched for by name stays in the history entry's own state.

/** Read the address: the parts of its path and its parameters. */
export function route() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return {
    path: path.split("/").filter(Boolean).map(decoded),
    query: new URLSearchParams(query),
    state: history.state ?? {},
  };
}

/** The address of a page. */
export function address(path, query = {}) {
  const kept = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const parameters = new URLSearchParams(kept).toString().replaceAll("%2C", ",");
  return `#/${path.map(encodeURIComponent).join("/")}${parameters ? `?${parameters}` : ""}`;
}

/** How the list of studies was left, and for which study: whoever comes back to it finds it so. */
export const list = { hash: "#/studies", state: {}, opened: "", search: "", page: 0, cursors: [null] };

/** Go to a page, or, without a new entry in the history, change the address of this one. */
export function go(hash, { replace = false, state = {} } = {}) {
  history[replace ? "replaceState" : "pushState"](state, "", hash);
  if (!replace) dispatchEvent(new HashChangeEvent("hashchange"));
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
