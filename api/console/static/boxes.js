// The subject's box: drawn, and dragged by its corners or moved by the arrows; the new box goes with the confirmation.
import { $, svg } from "./dom.js";
import { t } from "./strings.js";

let own = null, on = false, moving = false, redraw = () => {};
const LEAST = 0.005, STEP = 0.004;

export const editing = () => on;
export const current = () => own;
// While a corner is in the hand nothing may be drawn anew under it.
export const dragging = () => moving;
export function reset() { own = null; on = false; moving = false; }
export function edit(wanted, again) { on = wanted; redraw = again; }
const clamp = (v) => Math.min(1, Math.max(0, v));

export function fit([x1, y1, x2, y2]) {
  const a = clamp(Math.min(x1, x2)), b = clamp(Math.min(y1, y2)), c = clamp(Math.max(x1, x2)), d = clamp(Math.max(y1, y2));
  return [a, b, Math.min(1, Math.max(c, a + LEAST)), Math.min(1, Math.max(d, b + LEAST))].map((v) => Math.round(v * 1e5) / 1e5);
}

function spot(event) {
  const r = $("overlay").getBoundingClientRect();
  return [(event.clientX - r.left) / r.width, (event.clientY - r.top) / r.height];
}

function drag(handle, from, corner) {
  handle.addEventListener("pointerdown", (down) => {
    down.preventDefault();
    handle.setPointerCapture(down.pointerId);
    moving = true;
    const start = spot(down), was = [...from];
    const move = (event) => {
      const [x, y] = spot(event), dx = x - start[0], dy = y - start[1];
      own = fit(was.map((v, i) => v + (corner === null || corner.includes(i) ? (i % 2 ? dy : dx) : 0)));
      place(own);
    };
    const up = () => { moving = false; handle.removeEventListener("pointermove", move); redraw(); };
    handle.addEventListener("pointermove", move);
    handle.addEventListener("lostpointercapture", up, { once: true });
  });
}

let parts = [];
function place(box) {
  const [x1, y1, x2, y2] = box.map((v) => v * 1000), [rect, ...dots] = parts;
  for (const [k, v] of Object.entries({ x: x1, y: y1, width: x2 - x1, height: y2 - y1 })) rect.setAttribute(k, v);
  [[x1, y1], [x2, y1], [x2, y2], [x1, y2]].forEach(([x, y], i) => { if (dots[i]) { dots[i].setAttribute("cx", x); dots[i].setAttribute("cy", y); } });
}

export function draw(over, given) {
  const box = own ?? given;
  const rect = svg("rect", { class: own ? "subject own" : "subject" });
  parts = [rect];
  over.append(rect);
  if (on) {
    rect.classList.add("grip");
    rect.setAttribute("tabindex", "0");
    rect.setAttribute("role", "application");
    rect.setAttribute("aria-label", t("boxHelp"));
    rect.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
      if (!way) return;
      event.preventDefault();
      const [dx, dy] = way, b = own ?? given;
      own = fit(event.shiftKey ? [b[0], b[1], b[2] + dx, b[3] + dy] : [b[0] + dx, b[1] + dy, b[2] + dx, b[3] + dy]);
      rect.classList.add("own");
      place(own);
    });
    drag(rect, box, null);
    for (const corner of [[0, 1], [2, 1], [2, 3], [0, 3]]) {
      const dot = svg("ellipse", { class: "handle", rx: 9, ry: 9 });
      parts.push(dot);
      over.append(dot);
      drag(dot, box, corner);
    }
  }
  place(box);
  if (on) rect.focus({ preventScroll: true });
}
