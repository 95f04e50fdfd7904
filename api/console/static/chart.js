// Charts as SVG: bars, a heat map, lines; each to take away as a picture and as a table.
import { button, csv, el, save, svg } from "./dom.js";
import { t } from "./strings.js";

const INK = "#10222b", DIM = "#48606b", BACK = "#ffffff";
const text = (x, y, value, more = {}) => svg("text", { x, y, fill: INK, "font-size": 12, "font-family": "system-ui, Noto Sans, Noto Sans CJK SC, sans-serif", ...more, text: value });
const shade = (share) => `hsl(199 ${40 + 40 * share}% ${96 - 62 * share}%)`;
function sheet(width, height, label) {
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label, class: "chart" }, svg("rect", { width, height, fill: BACK }));
}
const short = (name, most = 26) => (name.length > most ? `${name.slice(0, most - 1)}…` : name);

// rows: [{name, hours: 24 numbers}]
export function heat(rows, label) {
  const left = 190, w = 30, h = 26, top = 24, out = sheet(left + 24 * w + 60, top + rows.length * h + 8, label);
  const most = Math.max(1, ...rows.flatMap((r) => r.hours));
  for (let i = 0; i < 24; i += 1) out.append(text(left + i * w + w / 2, 16, String(i), { "text-anchor": "middle", fill: DIM }));
  rows.forEach((row, y) => {
    out.append(text(left - 8, top + y * h + 17, short(row.name), { "text-anchor": "end" }));
    row.hours.forEach((n, x) => {
      const share = n / most;
      out.append(svg("rect", { x: left + x * w, y: top + y * h, width: w - 2, height: h - 2, rx: 3, fill: n ? shade(share) : "#f3f5f6" }, svg("title", { text: `${row.name} ${x}:00 – ${n}` })));
      if (n) out.append(text(left + x * w + w / 2 - 1, top + y * h + 17, String(n), { "text-anchor": "middle", fill: share > 0.45 ? "#fff" : INK, "font-size": 11 }));
    });
    out.append(text(left + 24 * w + 8, top + y * h + 17, String(row.hours.reduce((a, b) => a + b, 0)), { "font-weight": 600 }));
  });
  return out;
}
// rows: [{name, cells: Map(hour -> {confirmed, judged})}]
export function precision(rows, label) {
  const left = 300, w = 34, h = 26, top = 24, out = sheet(left + 24 * w + 12, top + rows.length * h + 8, label);
  for (let i = 0; i < 24; i += 1) out.append(text(left + i * w + w / 2, 16, String(i), { "text-anchor": "middle", fill: DIM }));
  rows.forEach((row, y) => {
    out.append(text(left - 8, top + y * h + 17, short(row.name, 42), { "text-anchor": "end" }));
    for (const [hour, c] of row.cells) {
      const good = c.confirmed / c.judged >= 0.85;
      out.append(svg("rect", { x: left + hour * w, y: top + y * h, width: w - 2, height: h - 2, rx: 3, fill: good ? "#cfe8d8" : "#f7d2cf" }, svg("title", { text: `${row.name} ${hour}:00 – ${c.confirmed}/${c.judged}` })), text(left + hour * w + w / 2 - 1, top + y * h + 16, `${c.confirmed}/${c.judged}`, { "text-anchor": "middle", "font-size": 10 }));
    }
  });
  return out;
}
// rows: [{name, parts: [number, …]}], colours by part
export function bars(rows, names, label) {
  const colours = ["#14683a", "#a3221b", "#9aa9b1"], left = 240, wide = 520, h = 30, top = 28, out = sheet(left + wide + 70, top + rows.length * h + 8, label);
  const most = Math.max(1, ...rows.map((r) => r.parts.reduce((a, b) => a + b, 0)));
  names.forEach((name, i) => out.append(svg("rect", { x: left + i * 130, y: 6, width: 12, height: 12, fill: colours[i] }), text(left + 18 + i * 130, 17, name)));
  rows.forEach((row, y) => {
    out.append(text(left - 8, top + y * h + 19, short(row.name, 34), { "text-anchor": "end" }));
    let x = left;
    row.parts.forEach((n, i) => { const w = (n / most) * wide; out.append(svg("rect", { x, y: top + y * h + 4, width: w, height: h - 8, fill: colours[i] }, svg("title", { text: `${names[i]} ${n}` }))); x += w; });
    out.append(text(x + 8, top + y * h + 19, String(row.parts.reduce((a, b) => a + b, 0)), { "font-weight": 600 }));
  });
  return out;
}
// series: [{name, values}], days as labels
export function lines(series, days, label) {
  const left = 50, wide = 760, high = 190, top = 34, out = sheet(left + wide + 20, top + high + 30, label), colours = ["#0b5a73", "#a3221b", "#14683a", "#7a4a00", "#5b3fa0", "#8a6d3b"];
  const most = Math.max(1, ...series.flatMap((s) => s.values)), x = (i) => left + (days.length > 1 ? (i / (days.length - 1)) * wide : wide / 2), y = (v) => top + high - (v / most) * high;
  for (const v of [0, Math.round(most / 2), most]) out.append(svg("line", { x1: left, x2: left + wide, y1: y(v), y2: y(v), stroke: "#cfd8dc" }), text(left - 8, y(v) + 4, String(v), { "text-anchor": "end", fill: DIM }));
  days.forEach((d, i) => { if (days.length < 12 || i % Math.ceil(days.length / 10) === 0) out.append(text(x(i), top + high + 20, d.slice(5), { "text-anchor": "middle", fill: DIM })); });
  series.slice(0, 6).forEach((s, k) => {
    out.append(svg("polyline", { points: s.values.map((v, i) => `${x(i)},${y(v)}`).join(" "), fill: "none", stroke: colours[k], "stroke-width": 2 }), ...s.values.map((v, i) => svg("circle", { cx: x(i), cy: y(v), r: 3.5, fill: colours[k] }, svg("title", { text: `${s.name} ${days[i]}: ${v}` }))), svg("rect", { x: left + k * 130, y: 8, width: 12, height: 12, fill: colours[k] }), text(left + 18 + k * 130, 19, short(s.name, 14)));
  });
  return out;
}

// `numbers`: every column but the first holds numbers, also where they are written as words.
export function table(head, rows, numbers = false) {
  const cell = (v) => (v === null || v === undefined ? "–" : typeof v === "number" && !Number.isInteger(v) ? v.toFixed(2) : String(v));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": head.join(", ") }, el("table", {}, el("thead", {}, el("tr", {}, head.map((h, i) => el("th", { scope: "col", class: numbers && i ? "num" : null, text: h })))), el("tbody", {}, rows.map((r) => el("tr", {}, r.map((v, i) => el(i ? "td" : "th", { scope: i ? null : "row", class: typeof v === "number" || (numbers && i) ? "num" : null, text: cell(v) })))))));
}

const TWICE = 2;
// The chart's pixels, twice as fine as on the page. Resolves to null when the browser gives none.
async function pixels(picture) {
  const image = new Image(), paper = document.createElement("canvas"), width = Number(picture.getAttribute("width")), height = Number(picture.getAttribute("height"));
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(picture.outerHTML)}`;
  await image.decode();
  paper.width = width * TWICE;
  paper.height = height * TWICE;
  paper.getContext("2d").drawImage(image, 0, 0, paper.width, paper.height);
  return new Promise((done) => { paper.toBlob(done, "image/png"); });
}

// A chart, or a table, with both to take away. `rows` are raw values for the file.
export function figure(name, title, hint, picture, head, rows, shown = null) {
  const taker = (word, kind, act) => button(t(word), act, { class: "take", "data-take": `${name}.${kind}`, "aria-label": `${title}: ${t(word)}` });
  const take = [taker("asCsv", "csv", () => save(`${name}.csv`, "text/csv;charset=utf-8", `\ufeff${csv(head, rows)}`))];
  if (picture) {
    picture.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    take.unshift(taker("asPng", "png", async () => { const blob = await pixels(picture); if (blob) save(`${name}.png`, "image/png", blob); }), taker("asSvg", "svg", () => save(`${name}.svg`, "image/svg+xml", picture.outerHTML)));
  }
  const body = rows.length ? [hint ? el("p", { class: "dim", text: hint }) : null, picture ? el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, picture) : null, shown] : [el("p", { text: t("nothing") })];
  return el("section", { class: "card", id: `fig-${name}` }, el("div", { class: "head" }, el("h2", { text: title }), el("span", { class: "grow" }), rows.length ? take : []), body);
}
