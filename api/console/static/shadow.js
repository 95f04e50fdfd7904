// What a candidate saw against the model that counts, on the same frames: a table of differences by class.
import { el } from "./dom.js";
import { translated } from "./said.js";
import { t } from "./strings.js";

const fill = (key, values) => Object.entries(values).reduce((text, [k, v]) => text.replace(`{${k}}`, v), t(key));

export function differences(shadow) {
  if (!shadow) return el("p", { text: t("shadowNone") });
  const total = [t("all"), [shadow.both ?? 0, shadow.champion_only ?? 0, shadow.candidate_only ?? 0]];
  const lines = Object.entries(shadow.by_class ?? {}).sort(([, a], [, b]) => b[1] + b[2] - a[1] - a[2]);
  const head = ["shadowClass", "seenBoth", "seenChampion", "seenCandidate", "agreement"].map((k, i) => el("th", { scope: "col", class: i ? "num" : null, text: t(k) }));
  const share = (c) => { const n = c[0] + c[1] + c[2]; return n ? `${Math.round((100 * c[0]) / n)} %` : "–"; };
  const row = ([name, c]) => el("tr", {}, el("th", { scope: "row", text: name }), [...c.map(String), share(c)].map((text) => el("td", { class: "num", text })));
  return el("div", {}, el("p", { text: fill("shadowLine", { model: shadow.model, frames: shadow.frames ?? 0, skipped: shadow.skipped ?? 0, failures: shadow.failures ?? 0 }) }),
    shadow.waits ? el("p", { class: "dim", text: `${t("shadowWaits")}: ${translated(shadow.waits)}` }) : null,
    shadow.problem ? el("p", { class: "off", text: translated(shadow.problem) }) : null,
    shadow.candidate_ms ? el("p", { class: "dim", text: fill("shadowTimes", { champion: shadow.champion_ms.toFixed(1), candidate: shadow.candidate_ms.toFixed(1) }) }) : null,
    shadow.frames ? el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("shadowOf") }, el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, [...lines, total].map(row)))) : null);
}
