// The city's map: cases in clusters that open as one comes nearer, each cluster a button for the keyboard.
import { grid, lay, metresLat, onMap } from "./base.js";
import { plain } from "./dom.js";
import { t } from "./strings.js";

const L = globalThis.L;
const CELL = 56;

// Greedy by cells of the screen: points of one cell are one cluster at their mean. O(n), and stable while the zoom stays.
export function clusters(points, project) {
  const cells = new Map();
  for (const p of points) {
    const { x, y } = project(p), key = `${Math.floor(x / CELL)} ${Math.floor(y / CELL)}`;
    const cell = cells.get(key) ?? { n: 0, lat: 0, lon: 0, points: [] };
    cell.n += 1;
    cell.lat += p.lat;
    cell.lon += p.lon;
    if (cell.points.length < 50) cell.points.push(p);
    cells.set(key, cell);
  }
  return [...cells.values()].map((c) => ({ n: c.n, lat: c.lat / c.n, lon: c.lon / c.n, points: c.points }));
}

export function make(box, chosen) {
  const map = L.map(box, { attributionControl: false, zoomAnimation: false, fadeAnimation: false, markerZoomAnimation: false, maxZoom: 20 }).setView([30, 110], 4);
  L.control.scale({ imperial: false }).addTo(map);
  lay(map);
  const ground = L.layerGroup().addTo(map), layer = L.layerGroup().addTo(map), cams = L.layerGroup().addTo(map);
  let points = [];
  const draw = () => {
    layer.clearLayers();
    for (const c of clusters(points, (p) => map.project([p.lat, p.lon], map.getZoom()))) {
      const text = c.n === 1 ? c.points[0].number : t("groupOf").replace("{n}", c.n), size = c.n === 1 ? 18 : 28 + Math.min(22, 6 * Math.log2(c.n));
      const icon = L.divIcon({ className: c.n === 1 ? "pin" : "pin many", html: c.n === 1 ? "" : String(c.n), iconSize: [size, size] });
      L.marker([c.lat, c.lon], { icon, alt: text, title: text, keyboard: true }).on("click", () => {
        const same = c.points.every((p) => Math.abs(p.lat - c.lat) < 1e-6 && Math.abs(p.lon - c.lon) < 1e-6);
        if (c.n > 1 && !same && map.getZoom() < 20) map.fitBounds(c.points.map((p) => [p.lat, p.lon]), { padding: [40, 40] });
        else chosen(c.points);
      }).addTo(layer);
    }
  };
  // Without tiles a grid tells the scale: its step is the power of ten whose lines are at least 60 pixels apart.
  const lines = () => {
    ground.clearLayers();
    const at = map.getCenter(), pixel = Math.abs(map.containerPointToLatLng([0, 0]).lat - map.containerPointToLatLng([0, 100]).lat) * metresLat / 100, step = 10 ** Math.ceil(Math.log10(60 * pixel));
    if (step <= 100_000) grid({ lat: at.lat, lon: at.lng }, step, 15, ground);
  };
  map.on("moveend", lines);
  map.on("zoomend", draw);
  return {
    show(given, fit) { const found = given.map(onMap); points = found; if (fit && found.length) map.fitBounds(found.map((p) => [p.lat, p.lon]), { padding: [30, 30], maxZoom: 16 }); draw(); },
    cameras(found) { cams.clearLayers(); for (const c of found.filter((x) => x.lat != null).map(onMap)) L.circleMarker([c.lat, c.lon], { radius: 6, color: c.state === "live" ? "#14683a" : "#a3221b", weight: 2, fillOpacity: 0.25 }).bindTooltip(plain(c.name || c.id)).addTo(cams); },
    fit(found) { const at = found.filter((c) => c.lat != null).map(onMap); if (at.length) map.fitBounds(at.map((c) => [c.lat, c.lon]), { padding: [30, 30], maxZoom: 15 }); },
    gone() { map.remove(); },
  };
}
