// What hands do on a stage: turn a wheel, drag with mouse, pen or finger, pinch with two.
const WHEEL_STEP = 40; // pixels a wheel may turn before the next step: mice turn 100 at a time, trackpads 4
const ZOOM_SPEED = 400; // pixels a wheel turns for a picture e times as large
const MIDDLE = 1;
const IN_USE = "a, button, video, .legend"; // to be used, not dragged over

/**
 * Listen, and tell `to`: `isReady()`, `turned(steps)`, `zoomed(factor, at)`, `doubled(at)`, `moved(right, down)`, and
 * `dragging(pointerType, isMiddle)`, which answers with what hears how far a drag is. Points are from the middle.
 */
export function listenToGestures(stage, to) {
  const at = ({ clientX, clientY }) => {
    const box = stage.getBoundingClientRect();
    return { right: clientX - box.left - box.width / 2, down: clientY - box.top - box.height / 2 };
  };
  listenToWheel(stage, to, at);
  listenToPointers(stage, to, at);
  stage.addEventListener("dblclick", (event) => event.target.closest(IN_USE) || to.doubled(at(event)));
  // The browser would begin to scroll by itself.
  stage.addEventListener("mousedown", (event) => event.button === MIDDLE && event.preventDefault());
}

function listenToWheel(stage, to, at) {
  let turned = 0;
  const listener = (event) => {
    if (!to.isReady() || event.target.closest(".legend")) return;
    event.preventDefault();
    const down = event.deltaMode ? Math.sign(event.deltaY) * WHEEL_STEP : event.deltaY;
    // Trackpads say a pinch so.
    if (event.ctrlKey) return to.zoomed(Math.exp(-Math.max(-100, Math.min(100, down)) / ZOOM_SPEED), at(event));
    turned += down;
    const steps = Math.trunc(turned / WHEEL_STEP);
    if (!steps) return;
    const isMouse = Math.abs(event.deltaY) >= WHEEL_STEP;
    turned = isMouse ? 0 : turned - steps * WHEEL_STEP;
    to.turned(isMouse ? Math.sign(steps) : steps);
  };
  stage.addEventListener("wheel", listener, { passive: false });
}

function listenToPointers(stage, to, at) {
  const fingers = new Map(); // those on the stage, where they are
  let drag = null;
  let pinch = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.target.closest(IN_USE) || !to.isReady()) return;
    if (event.pointerType === "touch") fingers.set(event.pointerId, at(event));
    pinch = fingers.size === 2 ? pinchOf(fingers) : null;
    if (fingers.size > 1) return void (drag = null);
    if (!event.isPrimary || ![0, MIDDLE].includes(event.button)) return;
    drag = { from: at(event), act: to.dragging(event.pointerType, event.button === MIDDLE) };
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    const here = at(event);
    if (fingers.has(event.pointerId)) fingers.set(event.pointerId, here);
    if (pinch) {
      const now = pinchOf(fingers);
      to.moved(now.middle.right - pinch.middle.right, now.middle.down - pinch.middle.down);
      to.zoomed(now.distance / pinch.distance, now.middle);
      pinch = now;
    } else if (drag && event.isPrimary) drag.act(here.right - drag.from.right, here.down - drag.from.down);
  });
  const ended = (event) => {
    fingers.delete(event.pointerId);
    pinch = null;
    drag = null;
  };
  for (const type of ["pointerup", "pointercancel"]) stage.addEventListener(type, ended);
}

function pinchOf(fingers) {
  const [one, other] = [...fingers.values()];
  const middle = { right: (one.right + other.right) / 2, down: (one.down + other.down) / 2 };
  return { middle, distance: Math.max(1, Math.hypot(one.right - other.right, one.down - other.down)) };
}
