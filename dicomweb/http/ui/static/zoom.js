// How large a picture is shown and which part of it: 1 fits the stage; the middle of the stage stays in the picture.
const MOST = 32; // pixels of the screen for one of the picture
const STEP = 1.25;

/** The zoom of a stage; `changed` is called when the place of the picture is another one. */
export class Zoom {
  #scale = 1;
  #right = 0; // of the middle of the stage, in pixels of CSS
  #down = 0;
  #stage = { width: 1, height: 1 };
  #picture = { width: 1, height: 1 };
  #changed;

  constructor(changed) {
    this.#changed = changed;
  }

  /** Times the size at which it fits. */
  get scale() {
    return this.#scale;
  }

  /** Pixels of the screen for one of the picture. */
  get pixels() {
    return this.#fit * this.#scale * devicePixelRatio;
  }

  /** Where the picture is from the middle of the stage: {right, down}. */
  get offset() {
    return { right: this.#right, down: this.#down };
  }

  /** Left, top, width and height of the picture in the stage, in pixels of CSS. */
  get box() {
    const size = this.#fit * this.#scale;
    const [width, height] = [this.#picture.width * size, this.#picture.height * size];
    const left = (this.#stage.width - width) / 2 + this.#right;
    return { left, top: (this.#stage.height - height) / 2 + this.#down, width, height };
  }

  /** Say how large stage and picture are. */
  place(stage, picture) {
    this.#stage = { width: stage.clientWidth || 1, height: stage.clientHeight || 1 };
    this.#picture = picture;
    this.#set(this.#scale, this.#right, this.#down);
  }

  /** Larger or smaller by a factor; what is at a point (from the middle of the stage) stays there. */
  by(factor, { right = 0, down = 0 } = {}) {
    const scale = this.#within(this.#scale * factor);
    const times = scale / this.#scale;
    this.#set(scale, right - (right - this.#right) * times, down - (down - this.#down) * times);
  }

  /** One step larger (1) or smaller (-1). */
  step(direction, at) {
    const to = this.#scale * STEP ** direction;
    // Who comes by the size that fits stops there.
    const passesFit = (this.#scale - 1) * (to - 1) < -1e-9;
    this.by((passesFit ? 1 : to) / this.#scale, at);
  }

  /** Move the picture to a place from the middle of the stage. */
  move(right, down) {
    this.#set(this.#scale, right, down);
  }

  /** All of it, as large as there is room. */
  fit() {
    this.#set(1, 0, 0);
  }

  /** One pixel of the screen for one of the picture. */
  actual() {
    this.by(1 / this.pixels);
  }

  get #fit() {
    return Math.min(this.#stage.width / this.#picture.width, this.#stage.height / this.#picture.height);
  }

  #within(scale) {
    const actual = 1 / (this.#fit * devicePixelRatio);
    return Math.min(Math.max(scale, Math.min(1, actual)), Math.max(1, actual * MOST));
  }

  #set(scale, right, down) {
    this.#scale = this.#within(scale);
    const room = (side) => (this.#picture[side] * this.#fit * this.#scale) / 2;
    const most = (value, side) => Math.max(-room(side), Math.min(room(side), value));
    this.#right = most(right, "width");
    this.#down = most(down, "height");
    this.#changed();
  }
}
