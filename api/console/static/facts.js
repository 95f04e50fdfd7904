// What is known of a case, in words, with times in the city's zone.
import { issueName, language, t } from "./strings.js";
import { latest } from "./stage.js";

const $ = (id) => document.getElementById(id);
let zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
export function setZone(name) { if (name) zone = name; }

export function when(text) {
  return new Intl.DateTimeFormat(language() === "zh" ? "zh-CN" : "en-GB", { timeZone: zone, dateStyle: "medium", timeStyle: "medium" }).format(new Date(text));
}

export function dwell(seconds) {
  const s = Math.round(seconds), pad = (n) => String(n).padStart(2, "0");
  return s < 3600 ? `${Math.floor(s / 60)}:${pad(s % 60)}` : `${Math.floor(s / 3600)}:${pad(Math.floor(s / 60) % 60)}:${pad(s % 60)}`;
}

export function show(whole) {
  const a = latest(whole), e = whole.place.error;
  $("case-title").textContent = `${whole.number} · ${issueName(whole.issue)} · ${whole.camera_name || whole.camera_id}`;
  const rows = [
    ["issue", `${issueName(whole.issue)} (${whole.issue})`], ["dwell", `${dwell(a.dwell.dwell_s)} / ${dwell(a.rule.confirm_s)}`],
    ["zone", `${a.zone.id} (${a.zone.kind})`], ["street", t(a.zone.street_class)], ["permit", a.zone.permit ?? "–"],
    ["first_seen", when(a.dwell.first_seen_at)], ["confirmed_at", when(a.dwell.confirmed_at)],
    ["deadline", whole.deadline_at ? when(whole.deadline_at) : "–"], ["count", String(a.count)],
    ["place", `${whole.place.lat.toFixed(5)}, ${whole.place.lon.toFixed(5)} (${t(whole.place.source)})`],
    ["error", `${Math.round(e.semi_major_m)} × ${Math.round(e.semi_minor_m)} m`],
    ["rule", `${a.rule.name} · ${a.rule.policy_version}`],
    ["model", `${a.model.name} ${a.model.version} · ${a.model.class_name ?? ""} ${a.model.score != null ? a.model.score.toFixed(2) : ""}`],
    ["clock", a.dwell.clock_source],
  ];
  $("facts").replaceChildren(...rows.flatMap(([key, value]) => {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = t(key);
    dd.textContent = value;
    return [dt, dd];
  }));
  $("timeline").replaceChildren(...(a.note ? a.note.split("; ") : []).map((line) => {
    const li = document.createElement("li");
    li.textContent = line;
    return li;
  }));
}
