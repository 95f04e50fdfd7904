// The place of a case with its error ellipse and the neighbours within 50 m.
import { grid, lay, metresLat, metresLon, onMap } from "./base.js";
import { $, plain } from "./dom.js";
import { issueName, t } from "./strings.js";

const L = globalThis.L;
let map = null, layer = null, near = null, mine = null;

export function ellipse(place) {
  const { semi_major_m: a, semi_minor_m: b, bearing_deg: bearing = 0 } = place.error;
  const turn = ((90 - bearing) * Math.PI) / 180, points = [];
  for (let i = 0; i < 48; i += 1) {
    const angle = (i / 48) * 2 * Math.PI, x = a * Math.cos(angle), y = b * Math.sin(angle);
    points.push([place.lat + (x * Math.sin(turn) + y * Math.cos(turn)) / metresLat, place.lon + (x * Math.cos(turn) - y * Math.sin(turn)) / metresLon(place.lat)]);
  }
  return points;
}

export function show(whole) {
  const box = $("map"), place = onMap(whole.place);
  box.setAttribute("aria-label", t("map"));
  if (map === null) {
    map = L.map(box, { attributionControl: false, zoomAnimation: false, fadeAnimation: false, keyboard: false });
    L.control.scale({ imperial: false }).addTo(map);
    lay(map);
    layer = L.layerGroup().addTo(map);
    near = L.layerGroup().addTo(map);
  }
  layer.clearLayers();
  near.clearLayers();
  map.invalidateSize(false);
  const radius = Math.max(60, place.error.semi_major_m * 1.4), dy = radius / metresLat, dx = radius / metresLon(place.lat);
  map.fitBounds([[place.lat - dy, place.lon - dx], [place.lat + dy, place.lon + dx]]);
  grid(place, 100, 8, layer);
  L.polygon(ellipse(place), { color: "#d9480f", weight: 2, fillOpacity: 0.12, smoothFactor: 0 }).addTo(layer);
  mine = L.circleMarker([place.lat, place.lon], { radius: 6, color: "#fff", weight: 2, fillColor: "#c92a2a", fillOpacity: 1 }).addTo(layer);
}

export function neighbours(found) {
  near.clearLayers();
  for (const other of found.map(onMap)) {
    L.circleMarker([other.lat, other.lon], { radius: 10, color: "#fff", weight: 1, fillColor: "#1864ab", fillOpacity: 0.9 }).bindTooltip(plain(`${other.number} · ${issueName(other.issue)}`)).addTo(near);
  }
  mine.bringToFront(); // a neighbour at the very same point shows as a ring round it
}
