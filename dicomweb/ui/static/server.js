// What the server last told about itself; "told" is dispatched when it did.

class Server extends EventTarget {
  viewer = false;
  version = "";

  /** Note what it told. */
  tell(facts) {
    Object.assign(this, facts);
    this.dispatchEvent(new Event("told"));
  }
}

export const server = new Server();
