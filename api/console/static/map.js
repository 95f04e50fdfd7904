// The place on a map with its error ellipse and the neighbours. Works without tiles: a grid in metres is drawn instead.
import { toDatum } from "./datum.js";
import { t } from "./strings.js";

const L = globalThis.L;
const M_PER_DEG = 111320;
let map = null, layer = null, tiles = null, datum = "wgs84";

// The tiles of the city's own map, and the datum in which they are drawn.
export function configure(session) { tiles = session.map_tiles; datum = session.map_datum; }

function onMap(place) {
  const [lon, lat] = toDatum(place.lon, place.lat, datum);
  return { ...place, lon, lat };
}

function metres(lat) { return M_PER_DEG * Math.cos((lat * Math.PI) / 180); }

function ellipse(place) {
  const { semi_major_m: a, semi_minor_m: b, bearing_deg: bearing } = place.error;
  const turn = ((90 - bearing) * Math.PI) / 180, points = [];
  for (let i = 0; i < 48; i += 1) {
    const angle = (i / 48) * 2 * Math.PI, x = a * Math.cos(angle), y = b * Math.sin(angle);
    points.push([place.lat + (x * Math.sin(turn) + y * Math.cos(turn)) / M_PER_DEG,
      place.lon + (x * Math.cos(turn) - y * Math.sin(turn)) / metres(place.lat)]);
  }
  return points;
}

function grid(place, step, reach) {
  const dy = step / M_PER_DEG, dx = step / metres(place.lat);
  const lat0 = Math.floor(place.lat / dy) * dy, lon0 = Math.floor(place.lon / dx) * dx;
  for (let i = -reach; i <= reach; i += 1) {
    const style = { color: "#7c98a5", weight: 1, opacity: 0.5, interactive: false };
    L.polyline([[lat0 + i * dy, lon0 - reach * dx], [lat0 + i * dy, lon0 + reach * dx]], style).addTo(layer);
    L.polyline([[lat0 - reach * dy, lon0 + i * dx], [lat0 + reach * dy, lon0 + i * dx]], style).addTo(layer);
  }
}

export function show(whole, neighbours) {
  const box = document.getElementById("map"), place = onMap(whole.place);
  box.setAttribute("aria-label", t("map"));
  if (map === null) {
    map = L.map(box, { attributionControl: false, zoomAnimation: false, fadeAnimation: false, keyboard: false });
    L.control.scale({ imperial: false }).addTo(map);
    if (tiles) L.tileLayer(tiles, { maxZoom: 19 }).addTo(map);
    layer = L.layerGroup().addTo(map);
  }
  layer.clearLayers();
  const radius = Math.max(60, place.error.semi_major_m * 1.4);
  map.setView([place.lat, place.lon], 17);
  map.fitBounds([[place.lat - radius / M_PER_DEG, place.lon - radius / metres(place.lat)], [place.lat + radius / M_PER_DEG, place.lon + radius / metres(place.lat)]]);
  if (!tiles) grid(place, 100, 8);
  L.polygon(ellipse(place), { color: "#d9480f", weight: 2, fillOpacity: 0.12 }).addTo(layer);
  L.circleMarker([place.lat, place.lon], { radius: 7, color: "#fff", weight: 2, fillColor: "#c92a2a", fillOpacity: 1 }).addTo(layer);
  for (const other of neighbours) {
    if (other.id === whole.id) continue;
    const beside = onMap(other.place);
    L.circleMarker([beside.lat, beside.lon], { radius: 5, color: "#1864ab", weight: 1, fillOpacity: 0.7 }).bindTooltip(other.number).addTo(layer);
  }
}
