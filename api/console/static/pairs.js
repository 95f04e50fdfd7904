// Point pairs of the ground plane: one point in the picture, the same on the map, and the error of each.
import { distance, grid, lay, ofMap, onMap } from "./base.js";
import { button, el } from "./dom.js";
import { fit } from "./ground.js";
import { t } from "./strings.js";

const L = globalThis.L;
const whole = (pairs) => pairs.filter((p) => p.picture && Number.isFinite(p.lon) && Number.isFinite(p.lat));
export const complete = (pairs) => whole(pairs).map((p) => ({ picture: p.picture, lon: p.lon, lat: p.lat }));

// How far a click that is one pixel off (of a picture 1280 wide) moves the ground, in metres: with four pairs all that can be said.
const PIXEL = 1 / 1280;
const slip = (found, [x, y]) => Math.max(...[[PIXEL, 0], [0, PIXEL]].map(([dx, dy]) => distance(found.map([x, y]), found.map([x + dx, y + dy]))));

function verdict(pairs) {
  const ready = whole(pairs), found = fit(ready);
  if (ready.length < 4) return { text: t("groundFew").replace("{n}", ready.length), errors: null };
  if (!found || !Number.isFinite(found.rms)) return { text: t("groundBad"), errors: null };
  const text = ready.length === 4 ? t("groundExact") : t("groundRms").replace("{m}", found.rms.toFixed(2)).replace("{n}", ready.length);
  return { text, errors: new Map(ready.map((p, i) => [p, found.errors[i]])), slips: new Map(ready.map((p) => [p, slip(found, p.picture)])) };
}

export function make(model, camera, changed) {
  const box = el("div", { class: "pairmap", role: "region", "aria-label": t("groundMap") }), list = el("div", { class: "pairs" }), said = el("p", { role: "status", class: "dim" }), host = el("section", { class: "card", id: "ground" });
  let map = null, marks = null;
  function draw() {
    const { text, errors, slips } = verdict(model.pairs);
    said.textContent = text;
    const input = (p, key) => el("input", { type: "number", step: "any", value: p[key] ?? "", "aria-label": t(key), onchange: (e) => { p[key] = e.target.value === "" ? undefined : Number(e.target.value); changed(); } });
    list.replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, ["pairPicture", "lon", "lat", "residual", "slip"].map((h) => el("th", { scope: "col", text: t(h) })), el("td", {}))), el("tbody", {}, model.pairs.map((p, i) => el("tr", {}, el("td", { text: p.picture ? p.picture.map((v) => v.toFixed(3)).join(", ") : "…" }), el("td", {}, input(p, "lon")), el("td", {}, input(p, "lat")), el("td", { class: "num", text: errors?.has(p) && model.pairs.length > 4 ? errors.get(p).toFixed(2) : "–" }), el("td", { class: "num", text: slips?.has(p) ? slips.get(p).toFixed(2) : "–" }), el("td", {}, button(t("remove"), () => { model.pairs.splice(i, 1); model.pairing = null; changed(); })))))));
    marks?.clearLayers();
    if (marks) for (const p of whole(model.pairs).map(onMap)) L.circleMarker([p.lat, p.lon], { radius: 6, color: "#10222b", weight: 1, fillColor: "#00bcd4", fillOpacity: 1 }).addTo(marks);
  }
  host.append(el("h2", { text: t("ground") }), el("p", { class: "dim", text: t("groundHelp") }), button(t("addPair"), () => { model.draft = null; model.pairs.push({}); model.pairing = model.pairs.length - 1; changed(t("pairHelp")); }, { id: "add-pair" }), said, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("ground") }, list), box);
  return {
    host, draw,
    start() {
      const here = camera.lat == null ? null : onMap(camera);
      map = L.map(box, { attributionControl: false, zoomAnimation: false, fadeAnimation: false, keyboard: true, maxZoom: 22 }).setView(here ? [here.lat, here.lon] : [30, 110], here ? 18 : 4);
      L.control.scale({ imperial: false }).addTo(map);
      lay(map);
      if (here) grid(here, 10, 15, map);
      marks = L.layerGroup().addTo(map);
      map.on("click", (e) => { const p = model.pairs[model.pairing]; if (!p) return; const at = ofMap({ lon: e.latlng.lng, lat: e.latlng.lat }); p.lon = Number(at.lon.toFixed(7)); p.lat = Number(at.lat.toFixed(7)); if (p.picture) model.pairing = null; changed(); });
      draw();
    },
    gone() { map?.remove(); map = null; },
  };
}
