// Questions that only the camera's box can answer: probe, a picture of now, the draft on the box's own record.
import * as api from "./api.js";
import { el } from "./dom.js";
import { dwell, when } from "./facts.js";
import { translated } from "./said.js";
import { guarded } from "./shell.js";
import { issueName, t } from "./strings.js";

const EVERY_MS = 1500;
const later = () => new Promise((go) => { setTimeout(go, EVERY_MS); });

// Resolves to the answer; null when it cannot be asked, or `gone` says that the page was left.
export async function ask(camera, question, gone, waiting) {
  let found = await guarded(() => api.askCheck(camera, question));
  while (found && found.state === "waiting" && !gone()) {
    waiting(found);
    await later();
    found = (await guarded(() => api.getCheck(camera, found.id))) ?? found;
  }
  return gone() ? null : found ?? null;
}

function bad(found) { return el("p", { class: "alarm", text: found.state === "expired" ? t("checkExpired") : translated(found.reason) || "–" }); }

export function probed(found) {
  if (found.state !== "done") return [bad(found)];
  const name = (key) => { const said = t(`f_${key}`); return said === `f_${key}` ? key : said; };
  return [el("p", {}, el("strong", { text: t(found.ok ? "probeGood" : "probeBad") }), found.reason ? ` ${translated(found.reason)}` : ""), el("dl", { class: "boxfacts" }, found.facts.flatMap(([key, value]) => [el("dt", { text: name(key) }), el("dd", { text: key === "advice" ? translated(value) : value })]))];
}

export function tried(found) {
  if (found.state !== "done" || !found.ok) return [bad(found)];
  const minutes = Math.max(1, Math.round((Date.parse(found.answered_at) - Date.parse(found.seen_from)) / 60_000));
  return [el("p", {}, el("strong", { text: t("trialSaid").replace("{raised}", found.raised).replace("{minutes}", minutes).replace("{looks}", found.looks) })),
    el("ul", {}, found.cases.slice(0, 12).map((c) => el("li", { text: `${when(c.confirmed_at, { dateStyle: undefined })} · ${issueName(c.issue)} · ${c.zone_id} · ${dwell(c.dwell_s)}` })))];
}
export const failed = bad;
