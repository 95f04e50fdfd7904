// The picture on which zones are drawn, by mouse, pen or keyboard.
import { el, svg } from "./dom.js";
import { t } from "./strings.js";

export const ALLOW = new Set(["parking_bay", "non_motor_parking", "loading", "permitted_vending", "terrace", "collection_point"]);
const OTHER = new Set(["moving_lane", "privacy_mask", "frontage"]);
const STEP = 0.01;
const round = (v) => Math.round(Math.min(1, Math.max(0, v)) * 10000) / 10000;

// model: {zones, chosen, draft: [[x,y]…]|null, pairs, seen}; changed(): the page redraws its lists.
export function make(model, { pick, corner, point, changed }) {
  const over = svg("svg", { viewBox: "0 0 1000 1000", preserveAspectRatio: "none", tabindex: "0", role: "application", "aria-label": t("canvas") });
  const img = el("img", { alt: "", hidden: true }), host = el("div", { class: "drawing" }, img, over);
  let cross = [0.5, 0.5], focused = false;

  const spot = (e) => { const r = over.getBoundingClientRect(); return [round((e.clientX - r.left) / r.width), round((e.clientY - r.top) / r.height)]; };
  const pts = (polygon) => polygon.map(([x, y]) => `${x * 1000},${y * 1000}`).join(" ");
  function dragged(dot, polygon, i) {
    dot.addEventListener("pointerdown", (down) => {
      down.preventDefault();
      down.stopPropagation();
      over.setPointerCapture(down.pointerId);
      const move = (e) => { polygon[i] = spot(e); draw(); };
      over.addEventListener("pointermove", move);
      over.addEventListener("pointerup", () => { over.removeEventListener("pointermove", move); changed(); }, { once: true });
    });
    dot.addEventListener("click", (e) => e.stopPropagation());
  }
  function draw() {
    over.replaceChildren();
    model.zones.forEach((zone, i) => {
      const kind = ALLOW.has(zone.kind) ? "allow" : OTHER.has(zone.kind) ? "other" : "forbid";
      const shape = svg("polygon", { class: `${kind}${i === model.chosen ? " on" : ""}`, points: pts(zone.polygon) }, svg("title", { text: `${zone.id} · ${t(`z_${zone.kind}`)}` }));
      shape.addEventListener("click", (e) => { if (model.draft || model.pairing !== null) return; e.stopPropagation(); pick(i); });
      over.append(shape);
      if (i === model.chosen && !model.draft) zone.polygon.forEach(([x, y], k) => { const dot = svg("ellipse", { class: "dot", cx: x * 1000, cy: y * 1000, rx: 7, ry: 11 }); dragged(dot, zone.polygon, k); over.append(dot); });
    });
    for (const b of model.seen) over.append(svg("rect", { class: "seen", x: b[0] * 1000, y: b[1] * 1000, width: (b[2] - b[0]) * 1000, height: (b[3] - b[1]) * 1000 }));
    model.pairs.forEach((p) => { if (p.picture) over.append(svg("ellipse", { class: "pair", cx: p.picture[0] * 1000, cy: p.picture[1] * 1000, rx: 7, ry: 11 })); });
    if (model.draft) {
      over.append(svg("polyline", { class: "draft", points: pts(model.draft) }));
      for (const [x, y] of model.draft) over.append(svg("ellipse", { class: "dot", cx: x * 1000, cy: y * 1000, rx: 6, ry: 9 }));
    }
    if (focused) { const [x, y] = cross.map((v) => v * 1000); over.append(svg("line", { class: "cross", x1: x - 25, x2: x + 25, y1: y, y2: y }), svg("line", { class: "cross", x1: x, x2: x, y1: y - 40, y2: y + 40 })); }
  }
  const set = (at) => { if (model.pairing !== null) point(at); else if (model.draft) corner(at); };
  over.addEventListener("click", (e) => set(spot(e)));
  over.addEventListener("focus", () => { focused = over.matches(":focus-visible"); draw(); });
  over.addEventListener("blur", () => { focused = false; draw(); });
  over.addEventListener("keydown", (e) => {
    const step = e.shiftKey ? STEP / 5 : STEP * 2, way = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[e.key];
    if (way) { focused = true; cross = [round(cross[0] + way[0]), round(cross[1] + way[1])]; } else if (e.key === "Enter") set(cross);
    else if (e.key === "Backspace" && model.draft) model.draft.pop();
    else if (e.key === "Escape" && (model.draft || model.pairing !== null)) { model.draft = null; model.pairing = null; changed(); } else return;
    e.preventDefault();
    draw();
  });
  return {
    host, draw,
    focus: () => over.focus(),
    picture(url, width, height) { img.src = url; img.hidden = false; if (width && height) host.style.setProperty("--ratio", `${width} / ${height}`); else img.onload = () => host.style.setProperty("--ratio", `${img.naturalWidth} / ${img.naturalHeight}`); },
  };
}
