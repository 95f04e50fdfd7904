// WGS-84 points as a map of another datum wants them; the formulas of contract/datum.py.
const A = 6378245.0, EE = 0.00669342162296594323, PI = Math.PI, X_PI = (PI * 3000) / 180;

function outside(lon, lat) { return lon < 72.004 || lon > 137.8347 || lat < 0.8293 || lat > 55.8271; }

function gcj02(lon, lat) {
  const { sin, sqrt, abs } = Math, x = lon - 105, y = lat - 35, root = sqrt(abs(x));
  const waves = 20 * sin(6 * x * PI) + 20 * sin(2 * x * PI);
  let dLat = -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root;
  dLat += ((waves + 20 * sin(y * PI) + 40 * sin((y / 3) * PI)) * 2) / 3;
  dLat += ((160 * sin((y / 12) * PI) + 320 * sin((y * PI) / 30)) * 2) / 3;
  let dLon = 300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root;
  dLon += ((waves + 20 * sin(x * PI) + 40 * sin((x / 3) * PI)) * 2) / 3;
  dLon += ((150 * sin((x / 12) * PI) + 300 * sin((x / 30) * PI)) * 2) / 3;
  const phi = (lat * PI) / 180, magic = 1 - EE * sin(phi) ** 2;
  return [lon + ((dLon / ((A / sqrt(magic)) * Math.cos(phi))) * 180) / PI,
    lat + ((dLat / ((A * (1 - EE)) / (magic * sqrt(magic)))) * 180) / PI];
}

export function toDatum(lon, lat, datum) {
  if (datum === "wgs84" || outside(lon, lat)) return [lon, lat];
  const [x, y] = gcj02(lon, lat);
  if (datum === "gcj02" || outside(x, y)) return [x, y];
  const z = Math.hypot(x, y) + 0.00002 * Math.sin(y * X_PI), theta = Math.atan2(y, x) + 0.000003 * Math.cos(x * X_PI);
  return [z * Math.cos(theta) + 0.0065, z * Math.sin(theta) + 0.006];
}
