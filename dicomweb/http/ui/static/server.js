// What the server last told about itself; "told" is dispatched when it told something new.

class Server extends EventTarget {
  viewer = false;
  version = "";
  advice = ""; // what to do about stored files that the index does not know

  /** Note what it told. */
  tell(facts) {
    // What is shown of it is left alone meanwhile: it may be marked, or be read out.
    if (Object.entries(facts).every(([name, fact]) => this[name] === fact)) return;
    Object.assign(this, facts);
    this.dispatchEvent(new Event("told"));
  }
}

export const server = new Server();
