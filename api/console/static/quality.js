// Quality of the decisions: agreement, precision, gold items, and where two people differ.
import * as api from "./api.js";
import { figure, table } from "./chart.js";
import { button, el, field, select } from "./dom.js";
import { when } from "./facts.js";
import { go, guarded, params } from "./shell.js";
import { issueName, t } from "./strings.js";

const number = (v) => (v === null ? t("tooFew") : v.toFixed(2));
const said = (a) => `${t(`v_${a.kind}`)}${a.reason ? ` (${t(`r${a.reason}`)})` : ""}${a.issue ? ` · ${issueName(a.issue)}` : ""}`;

function people(found) {
  const head = [t("reviewer"), t("decisions"), t("confirmed_n"), t("rejected_n"), t("unsure_n"), t("median_s"), t("readAgain"), t("upheld"), t("kappa"), t("gold")];
  const rows = found.reviewers.map((r) => [r.reviewer, r.decisions, r.confirmed, r.rejected, r.unsure, r.median_s, r.read_again, r.precision, r.kappa, `${r.gold_right}/${r.gold}`]);
  return figure("reviewers", t("perReviewer"), "", null, head, rows, table(head, rows));
}
function pairs(found) {
  const head = [t("first"), t("second"), t("casesN"), t("agreed"), t("kappa")], rows = found.pairs.map((p) => [p.first, p.second, p.cases, p.agreed, p.kappa]);
  return figure("pairs", t("perPair"), "", null, head, rows, table(head, rows));
}
function differ(found) {
  const shown = found.length ? el("ul", { class: "picked" }, found.map((d) => el("li", {}, el("strong", { text: d.number }), ` · ${t(`q_${d.kind}`)} · ${d.first_reviewer}: ${said(d.first)} ↔ ${d.reader}: ${said(d.answer)} · ${when(d.answered_at)}`))) : null;
  return el("section", { class: "card" }, el("h2", { text: t("disagreements") }), shown ?? el("p", { text: t("noDisagreements") }));
}
function gold(heard) {
  const numberBox = el("input", { name: "number", required: true, maxlength: 20 }), answers = [["confirm", t("v_confirm")], ...[1, 2, 3, 4, 5, 6, 7, 8].map((n) => [String(n), `${t("v_reject")}: ${t(`r${n}`)}`])];
  let answer = "confirm";
  const make = () => guarded(async () => {
    const found = (await api.get("/map", { hours: 24 * 90, limit: 10000 })).find((c) => c.number === numberBox.value.trim());
    if (!found) { heard.textContent = t("unknownCase"); return; }
    await api.setGold(found.id, answer === "confirm" ? { kind: "confirm" } : { kind: "reject", reason: Number(answer) });
    heard.textContent = `${found.number}: ${t("madeGold")}`;
  });
  return el("section", { class: "card" }, el("h2", { text: t("goldTitle") }), el("p", { class: "dim", text: t("goldHelp") }), el("div", { class: "filters" }, field(t("caseNumber"), numberBox), field(t("answer"), select(answers, answer, (v) => { answer = v; })), button(t("makeGold"), make, { class: "go" })));
}

export async function enter(host, session) {
  const heard = el("p", { id: "page-said", role: "status" });
  const days = params().get("days") ?? "30", supervises = session.permissions.includes("case.supervise");
  const [found, differing] = await Promise.all([api.get("/quality", { days }), supervises ? api.get("/quality/disagreements", { days }) : null]);
  const tile = (value, label) => el("div", { class: "tile" }, el("strong", { text: value }), el("span", { text: label }));
  host.replaceChildren(el("h1", { text: t("qualityTitle") }), el("div", { class: "filters" }, field(t("days"), select(["7", "30", "90", "365"].map((d) => [d, d]), days, (d) => go("quality", { days: d })))), heard,
    el("div", { class: "tiles" }, tile(number(found.kappa), t("kappaAll")), tile(String(found.readings), t("readings")), tile(String(found.waiting), t("waitingReadings")), tile(`${Math.round(found.second_share * 100)} %`, t("share"))),
    el("div", { class: "figures" }, people(found), pairs(found), differing ? differ(differing) : null, supervises ? gold(heard) : null));
}
