// The ground plane: a homography from point pairs, least squares in the picture's shares, errors in metres on the map.
import { metresLat, metresLon } from "./base.js";

// Solve A x = b by Gauss with pivoting; null when the points give no plane.
function solve(a, b) {
  const n = b.length, m = a.map((row, i) => [...row, b[i]]);
  for (let c = 0; c < n; c += 1) {
    let best = c;
    for (let r = c + 1; r < n; r += 1) if (Math.abs(m[r][c]) > Math.abs(m[best][c])) best = r;
    if (Math.abs(m[best][c]) < 1e-10) return null;
    [m[c], m[best]] = [m[best], m[c]];
    for (let r = 0; r < n; r += 1) {
      if (r === c) continue;
      const f = m[r][c] / m[c][c];
      for (let k = c; k <= n; k += 1) m[r][k] -= f * m[c][k];
    }
  }
  return m.map((row, i) => row[n] / row[i]);
}

// pairs: [{picture: [x, y], lon, lat}]. Returns {map(point) -> {lon, lat}, errors: metres by pair, rms} or null.
// Direct linear transformation with h33 = 1 over coordinates that are centred and scaled (Hartley & Zisserman, 4.1 and 4.4).
export function fit(pairs) {
  if (pairs.length < 4) return null;
  const n = pairs.length, lon0 = pairs.reduce((s, p) => s + p.lon, 0) / n, lat0 = pairs.reduce((s, p) => s + p.lat, 0) / n, kx = metresLon(lat0), ky = metresLat;
  const world = pairs.map((p) => [(p.lon - lon0) * kx, (p.lat - lat0) * ky]), scale = Math.max(1, ...world.flat().map(Math.abs));
  const cx = pairs.reduce((s, p) => s + p.picture[0], 0) / n, cy = pairs.reduce((s, p) => s + p.picture[1], 0) / n;
  const ata = Array.from({ length: 8 }, () => Array(8).fill(0)), atb = Array(8).fill(0);
  pairs.forEach((p, i) => {
    const x = p.picture[0] - cx, y = p.picture[1] - cy, [u, v] = world[i].map((w) => w / scale);
    for (const [row, target] of [[[x, y, 1, 0, 0, 0, -u * x, -u * y], u], [[0, 0, 0, x, y, 1, -v * x, -v * y], v]]) {
      for (let r = 0; r < 8; r += 1) { atb[r] += row[r] * target; for (let c = 0; c < 8; c += 1) ata[r][c] += row[r] * row[c]; }
    }
  });
  const h = solve(ata, atb);
  if (!h || h.some((v) => !Number.isFinite(v))) return null;
  const metres = ([px, py]) => { const x = px - cx, y = py - cy, w = h[6] * x + h[7] * y + 1; return [((h[0] * x + h[1] * y + h[2]) / w) * scale, ((h[3] * x + h[4] * y + h[5]) / w) * scale]; };
  const errors = pairs.map((p, i) => { const [u, v] = metres(p.picture); return Math.hypot(u - world[i][0], v - world[i][1]); });
  return { map: (point) => { const [u, v] = metres(point); return { lon: lon0 + u / kx, lat: lat0 + v / ky }; }, errors, rms: Math.sqrt(errors.reduce((s, e) => s + e * e, 0) / n) };
}
