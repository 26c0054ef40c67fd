// What the server last told about itself; "told" is dispatched when it did.

class Server extends EventTarget {
  viewer = false;
  version = "";
  advice = ""; // what to do about stored files that the index does not know

  /** Note what it told. */
  tell(facts) {
    Object.assign(this, facts);
    this.dispatchEvent(new Event("told"));
  }
}

export const server = new Server();
