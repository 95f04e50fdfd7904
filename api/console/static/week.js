// The week of a zone: its times as fields, and the same as a picture of 7 × 24 hours.
import { button, el, field, svg } from "./dom.js";
import { t } from "./strings.js";

const WEEK = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], DAYS = [...WEEK, "workday", "restday"];
const minutes = (text) => { const [h, m] = text.split(":").map(Number); return h * 60 + m; };

// The spans [day 0-6, from, to) in minutes that a window covers in a plain week, without holidays.
export function spans(window) {
  const a = minutes(window.begin ?? "00:00"), b = minutes(window.end ?? "00:00"), out = [];
  WEEK.forEach((name, day) => {
    if (!(window.days ?? WEEK).some((d) => d === name || (d === "workday" && day < 5) || (d === "restday" && day > 4))) return;
    if (a < b) out.push([day, a, b]);
    else { out.push([day, a, 1440]); if (b > 0) out.push([(day + 1) % 7, 0, b]); }
  });
  return out;
}

function picture(schedule) {
  const left = 34, w = 20, h = 15, out = svg("svg", { class: "week", viewBox: `0 0 ${left + 24 * w} ${18 + 7 * h}`, role: "img", "aria-label": t("weekPicture") });
  for (let i = 0; i <= 24; i += 6) out.append(svg("text", { x: left + i * w, y: 11, "font-size": 10, fill: "currentColor", "text-anchor": i === 24 ? "end" : "start", text: String(i) }));
  WEEK.forEach((name, day) => out.append(svg("text", { x: 0, y: 28 + day * h, "font-size": 10, fill: "currentColor", text: t(`d_${name}`) }), svg("rect", { x: left, y: 17 + day * h, width: 24 * w, height: h - 2, fill: "currentColor", "fill-opacity": schedule.length ? 0.1 : 0.45 })));
  for (const window of schedule) for (const [day, a, b] of spans(window)) out.append(svg("rect", { x: left + (a / 60) * w, y: 17 + day * h, width: ((b - a) / 60) * w, height: h - 2, fill: "#0b7285" }));
  return out;
}

function row(window, i, zone, changed) {
  const put = (name, value) => { if (value) window[name] = value; else delete window[name]; changed(); };
  const days = el("fieldset", { class: "days" }, DAYS.map((d) => el("label", {}, el("input", { type: "checkbox", checked: (window.days ?? WEEK).includes(d), onchange: (e) => { const now = new Set(window.days ?? WEEK); if (e.target.checked) now.add(d); else now.delete(d); window.days = DAYS.filter((x) => now.has(x)); if (!window.days.length) window.days = [d]; changed(); } }), t(`d_${d}`))));
  const time = (name, word) => field(t(word), el("input", { type: "time", value: (window[name] ?? "00:00").slice(0, 5), onchange: (e) => put(name, e.target.value) }));
  const date = (name, word) => field(t(word), el("input", { type: "date", value: window[name] ?? "", onchange: (e) => put(name, e.target.value) }));
  return el("div", { class: "window" }, days, time("begin", "from"), time("end", "to"), date("valid_from", "validFrom"), date("valid_to", "validTo"), button(t("remove"), () => { zone.schedule.splice(i, 1); changed(); }));
}

export function week(zone, changed) {
  zone.schedule ??= [];
  const add = () => { zone.schedule.push({ days: ["mon", "tue", "wed", "thu", "fri"], begin: "07:00", end: "20:00" }); changed(); };
  return el("div", {}, el("h3", { text: t("weekOf").replace("{zone}", zone.id) }), zone.schedule.length ? null : el("p", { class: "dim", text: t("always") }), picture(zone.schedule), zone.schedule.map((w, i) => row(w, i, zone, changed)), button(t("addWindow"), add));
}
