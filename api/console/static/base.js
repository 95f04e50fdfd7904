// The map's ground: the city's tile server where there is one, else its own areas as GeoJSON, and a grid in metres.
import { get } from "./api.js";
import { toDatum } from "./datum.js";

const L = globalThis.L;
const M_PER_DEG = 111320;
const STYLE = { district: { color: "#5b7f95", weight: 2, fillOpacity: 0.05 }, grid: { color: "#7c98a5", weight: 1, fillOpacity: 0.03 }, frontage: { color: "#8a6d3b", weight: 2, fillOpacity: 0.1 } };
let tiles = null, datum = "wgs84", areas = null;

export const metresLon = (lat) => M_PER_DEG * Math.cos((lat * Math.PI) / 180);
export const metresLat = M_PER_DEG;
// The tiles of the city's own map, and the datum in which they are drawn.
export function configure(session) { tiles = session.map_tiles; datum = session.map_datum; }
export function onMap(place) {
  const [lon, lat] = toDatum(place.lon, place.lat, datum);
  return { ...place, lon, lat };
}
// The point in WGS-84 of a click on such a map: the shift hardly changes over its own length, so three turns give millimetres.
export function ofMap(at) {
  let { lon, lat } = at;
  for (let i = 0; i < 3; i += 1) { const there = onMap({ lon, lat }); lon += at.lon - there.lon; lat += at.lat - there.lat; }
  return { lon, lat };
}

export function distance(a, b) {
  return Math.hypot((a.lat - b.lat) * M_PER_DEG, (a.lon - b.lon) * metresLon(a.lat));
}

export function lay(map) {
  if (tiles) L.tileLayer(tiles, { maxZoom: 22, maxNativeZoom: 19 }).addTo(map);
  areas ??= Promise.all(Object.keys(STYLE).map((kind) => get(`/geo/${kind}`).then((found) => [kind, found], () => [kind, { features: [] }])));
  areas.then((found) => {
    for (const [kind, collection] of found) {
      if (!collection.features.length) continue;
      L.geoJSON(collection, { style: STYLE[kind], interactive: false, coordsToLatLng: ([lon, lat]) => { const at = onMap({ lon, lat }); return L.latLng(at.lat, at.lon); } }).addTo(map).bringToBack();
    }
  });
}

// The metres' own lines are for a centre that has neither tiles nor areas yet.
export async function grid(place, step, reach, layer) {
  if (tiles || (await areas)?.some(([, collection]) => collection.features.length)) return;
  const dy = step / M_PER_DEG, dx = step / metresLon(place.lat), style = { color: "#7c98a5", weight: 1, opacity: 0.4, interactive: false };
  const lat0 = Math.floor(place.lat / dy) * dy, lon0 = Math.floor(place.lon / dx) * dx;
  for (let i = -reach; i <= reach; i += 1) {
    L.polyline([[lat0 + i * dy, lon0 - reach * dx], [lat0 + i * dy, lon0 + reach * dx]], style).addTo(layer);
    L.polyline([[lat0 - reach * dy, lon0 + i * dx], [lat0 + reach * dy, lon0 + i * dx]], style).addTo(layer);
  }
}
