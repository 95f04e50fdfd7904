// Statistics: each figure is a picture and a table to take away. The span and the grouping live in the address.
import * as api from "./api.js";
import { bars, figure, heat, lines, precision, table } from "./chart.js";
import { el, field, select } from "./dom.js";
import { when } from "./facts.js";
import { letters } from "./letters.js";
import { go, params } from "./shell.js";
import { issueName, t } from "./strings.js";

const BY = ["issue", "camera", "district", "unit", "street_class", "channel"];
const SHARES = ["precision", "valid_report_rate", "handling_rate", "on_time_handling_rate", "settlement_rate", "on_time_settlement_rate", "rework_rate", "repeat_rate", "miss_rate"];
const NUMBERS = ["reported", "judged", "confirmed", "filed", "overdue", ...SHARES, "mean_handling_h", "median_decision_s", "median_ahead_min", "alerts_per_camera_day", "false_alerts_per_camera_day"];
const TILES = ["reported", "precision", "handling_rate", "settlement_rate", "overdue", "false_alerts_per_camera_day", "median_decision_s"];
const WORD = { reported: "reported_n", confirmed: "confirmed_n" }, word = (n) => t(WORD[n] ?? n);
const told = (n, v) => (v === null || v === undefined ? "–" : SHARES.includes(n) ? `${(100 * v).toFixed(1)} %` : Number.isInteger(v) ? String(v) : v.toFixed(2));
const wanted = () => ({ days: params().get("days") ?? "30", by: params().get("by") ?? "issue" });
const named = (by, key) => (by === "issue" ? issueName(key) : by === "street_class" ? t(key) : key || "–");

function indicators(found, by) {
  const groups = found.groups.map((g) => ({ ...g, name: named(by, g.key) })), head = [t(`by_${by}`), ...NUMBERS.map(word)];
  const all = groups.length ? [...groups, { ...found.total, name: t("all") }] : [], rows = all.map((g) => [g.name, ...NUMBERS.map((n) => g[n] ?? null)]);
  const picture = bars(groups.slice(0, 20).map((g) => ({ name: g.name, parts: [g.confirmed, g.judged - g.confirmed, Math.max(0, g.reported - g.judged)] })), [t("confirmed_n"), t("rejected_n"), t("s_in_review")], t("f_indicators"));
  return figure("indicators", t("f_indicators"), "", picture, head, rows, table(head, all.map((g) => [g.name, ...NUMBERS.map((n) => told(n, g[n]))]), true));
}
const tiles = (total) => el("div", { class: "tiles" }, TILES.map((n) => el("div", { class: "tile" }, el("strong", { text: told(n, total[n]) }), el("span", { text: word(n) }))));
function hours(found) {
  const rows = found.rows.map((r) => ({ name: r.name || r.place || "–", hours: r.hours }));
  return figure("heat", t("f_heat"), t("localHours").replace("{zone}", found.timezone), heat(rows, t("f_heat")), [t("place"), ...Array.from({ length: 24 }, (_, h) => h)], found.rows.map((r) => [r.name || r.place, ...r.hours]));
}
function precisions(found) {
  const by = new Map();
  for (const c of found.cells) {
    const name = `${c.camera_id} · ${issueName(c.issue)}`;
    if (!by.has(name)) by.set(name, new Map());
    by.get(name).set(c.hour, c);
  }
  const rows = [...by].slice(0, 40).map(([name, cells]) => ({ name, cells }));
  const head = [t("camera"), t("issue"), t("hour"), t("judged"), t("confirmed_n"), t("rejected_n"), t("precision"), t("low")];
  return figure("precision", t("f_precision"), t("precisionHint"), precision(rows, t("f_precision")), head, found.cells.map((c) => [c.camera_id, c.issue, c.hour, c.judged, c.confirmed, c.rejected, c.precision, c.low]));
}
function models(found) {
  const head = [t("model"), t("version"), t("alerts"), t("confirmed_n"), t("rejected_n"), t("firstAt"), t("lastAt")], rows = found.map((m) => [m.name, m.version, m.alerts, m.confirmed, m.rejected, m.first_at, m.last_at]);
  const picture = bars(found.slice(0, 12).map((m) => ({ name: `${m.name} ${m.version}`, parts: [m.confirmed, m.rejected, m.alerts - m.confirmed - m.rejected] })), [t("confirmed_n"), t("rejected_n"), t("s_in_review")], t("f_models"));
  return figure("models", t("f_models"), "", picture, head, rows, table(head, rows.map((r) => [...r.slice(0, 5), when(r[5]), when(r[6])])));
}
function load(found) {
  const days = [...new Set(found.map((r) => r.day))].sort(), people = [...new Set(found.map((r) => r.reviewer))];
  const series = people.map((name) => ({ name, values: days.map((d) => found.find((r) => r.reviewer === name && r.day === d)?.decisions ?? 0) }));
  const head = [t("reviewer"), t("date"), t("decisions"), t("median_s")], rows = found.map((r) => [r.reviewer, r.day, r.decisions, r.median_s]);
  return figure("load", t("f_load"), "", lines(series, days, t("f_load")), head, rows, table(head, rows.slice(-30).reverse()));
}

export async function enter(host, session, left) {
  const now = wanted(), { days, by } = now;
  const parts = await Promise.all([api.get("/stats/indicators", { days, by }), api.get("/charts/heat", { days }), api.get("/stats/precision", { days }), api.get("/charts/models", { days }), api.get("/charts/load", { days })]);
  if (left.aborted) return;
  const dead = session.permissions.includes("hook.manage") ? await letters() : null;
  host.replaceChildren(el("h1", { text: t("statsTitle") }), el("div", { class: "filters" },
    field(t("days"), select(["1", "7", "30", "90", "365"].map((d) => [d, d]), days, (d) => go("stats", { ...now, days: d }))), field(t("by"), select(BY.map((b) => [b, t(`by_${b}`)]), by, (b) => go("stats", { ...now, by: b })))),
  el("p", { id: "page-said", role: "status" }), tiles(parts[0].total), el("div", { class: "figures" }, indicators(parts[0], by), hours(parts[1]), precisions(parts[2]), models(parts[3]), load(parts[4])), ...(dead ? [dead] : []));
}
