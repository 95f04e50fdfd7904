// What is known of a case, in words, with times in the city's zone.
import { $, el } from "./dom.js";
import { translated } from "./said.js";
import { address } from "./shell.js";
import { issueName, language, t } from "./strings.js";

let zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
export function setZone(name) { if (name) zone = name; }
export const zoneName = () => zone;
const place = () => (language() === "zh" ? "zh-CN" : "en-GB");

export function when(text, style = {}) {
  return new Intl.DateTimeFormat(place(), { timeZone: zone, dateStyle: "medium", timeStyle: "medium", ...style }).format(new Date(text));
}
export const clock = (text) => new Intl.DateTimeFormat(place(), { timeZone: zone, hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }).format(new Date(text));
export const day = (text) => new Intl.DateTimeFormat(place(), { timeZone: zone, dateStyle: "medium" }).format(new Date(text));

export function dwell(seconds) {
  const s = Math.round(seconds), pad = (n) => String(n).padStart(2, "0");
  return s < 3600 ? `${Math.floor(s / 60)}:${pad(s % 60)}` : `${Math.floor(s / 3600)}:${pad(Math.floor(s / 60) % 60)}:${pad(s % 60)}`;
}

// The box's words for the usual case; anything else it says is shown as it says it.
const NO_PERMIT = "no active permit covers the place at this moment";
function rows(whole, a) {
  const e = whole.place.error, number = `${whole.place.lat.toFixed(5)}, ${whole.place.lon.toFixed(5)}`;
  const common = [["deadline", whole.deadline_at ? when(whole.deadline_at) : t("noDeadline")], ["place", `${number} (${t(whole.place.source)})`], ["error", `${Math.round(e.semi_major_m)} × ${Math.round(e.semi_minor_m)} m`]];
  if (!a) return [["issue", issueName(whole.issue)], ["street", t(whole.street_class)], ...common];
  return [
    ["dwell", `${dwell(a.dwell.dwell_s)} / ${dwell(a.rule.confirm_s)}`], ["zone", `${a.zone.id} (${t(`z_${a.zone.kind}`)})`], ["street", t(a.zone.street_class)],
    ["permit", !a.zone.permit || a.zone.permit === NO_PERMIT ? t("noPermit") : translated(a.zone.permit)], ["first_seen", when(a.dwell.first_seen_at)], ["confirmed_at", when(a.dwell.confirmed_at)], ["count", String(a.count)], ...common,
    ["rule", `${a.rule.name} · ${a.rule.policy_version}`], ["model", `${a.model.name} ${a.model.version} · ${a.model.class_name ?? ""} ${a.model.score != null ? a.model.score.toFixed(2) : ""}`],
    ["clock", t(a.dwell.clock_source)], ["trace", el("a", { id: "trace-link", href: address("trace", {}, whole.id) }, a.id.replaceAll("-", ""))],
  ];
}

// A measured number; rounded first, since -0.04 is no "-0.0".
export const fixed = (v, digits, unit) => (v === null || v === undefined ? "–" : `${(Math.round(v * 10 ** digits) / 10 ** digits + 0).toFixed(digits)} ${unit}`);

export function show(whole) {
  const a = whole.alerts[whole.alerts.length - 1] ?? null;
  $("case-title").textContent = `${whole.number} · ${issueName(whole.issue)} · ${whole.camera_name || whole.camera_id}`;
  $("facts").replaceChildren(...rows(whole, a).flatMap(([key, value]) => [el("dt", { text: t(key) }), el("dd", {}, value)]));
  const steps = a?.timeline?.length ? a.timeline.map((s) => `${clock(s.at)} ${translated(s.words)}`) : a?.note ? a.note.split("; ").map(translated) : [];
  $("timeline").replaceChildren(...steps.map((line) => el("li", { text: line })));
  $("recurrence").textContent = "";
  $("near").textContent = "";
  $("history").replaceChildren();
}

// What the place has seen before; comes a moment after the case.
export function history(found) {
  const r = found.recurrence;
  $("recurrence").textContent = found.history.length ? t("recurrence").replace("{h}", r["1h"]).replace("{w}", r["7d"]).replace("{m}", r["30d"]) : t("noHistory");
  $("near").textContent = found.near.length ? `${t("nearBy").replace("{n}", found.near.length)} ${found.near.slice(0, 4).map((c) => `${c.number} ${issueName(c.issue)}`).join("; ")}${found.near.length > 4 ? " …" : ""}` : "";
  $("history").replaceChildren(...found.history.slice(0, 6).map((c) => el("li", { text: `${when(c.opened_at, { timeStyle: "short" })} · ${issueName(c.issue)} · ${t(`s_${c.state}`)}` })));
}

// What the city's pack says of the case: its limit, its unit, the condition for filing, permits that hold at the place.
export function terms(found) {
  const limit = t("limitOf").replace("{n}", found.limit_amount).replace("{unit}", t(found.limit_unit)), unit = (language() === "zh" ? found.unit_zh : found.unit_en) || found.unit || "–";
  const rows = [["unit", unit]];
  if (language() === "en") rows.push(["filing", found.filing]); // a pack has its conditions in one language
  if (found.place.permits?.length) rows.push(["permitHere", found.place.permits.map((p) => `${p.name} (${t(p.holds ? "holdsNow" : "holdsNot")})`).join(", ")]);
  const deadline = [...$("facts").querySelectorAll("dt")].find((dt) => dt.textContent === t("deadline"));
  if (deadline?.nextSibling.textContent === t("noDeadline")) deadline.nextSibling.textContent = limit;
  for (const old of $("facts").querySelectorAll("[data-terms]")) old.remove(); // news of the box may ask twice
  $("facts").append(...rows.flatMap(([key, value]) => [el("dt", { text: t(key), "data-terms": "" }), el("dd", { text: value, "data-terms": "" })]));
}
