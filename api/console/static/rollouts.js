// Rollouts of models: where each stands, what its gates say and why, its history, and the word of a person: pause, resume, abort, finish.
import * as api from "./api.js";
import { button, el, field, select } from "./dom.js";
import { when } from "./facts.js";
import { translated } from "./said.js";
import { address, go, guarded, pageArg, params } from "./shell.js";
import { t } from "./strings.js";

const EVERY_MS = 15_000, STATUSES = ["running", "paused", "halted", "aborted", "done"], OWN = "own";
const LOOK = { running: "good", done: "good", paused: "dim", halted: "bad", aborted: "bad" }, SAYS = { pass: "good", wait: "dim", halt: "bad" };
// What a person may say in each state; the centre refuses the rest.
const ACTS = { running: ["pause", "abort"], paused: ["resume", "abort"] };
const WORD = { pause: "actPause", resume: "actResume", abort: "actAbort", finish: "actFinish" };
let timer = null;

const modelName = (name) => (name === OWN ? t("ownModel") : name || "–");
// Words for the centre's own names; a ring's name is the city's.
const known = (kind, name) => { const key = `${kind}_${name}`, word = t(key); return word === key ? name : word; };
const stageName = (name) => (name === "shadow" ? t("stageShadow") : name);
const mark = (status) => el("span", { class: `mark ${LOOK[status]}`, text: t(`ro_${status}`) });
const table = (name, head, rows, id) => el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, el("table", { id }, el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col", text })))), el("tbody", {}, rows)));
const cells = (texts) => texts.map((c) => el("td", {}, c));

async function list(host) {
  const status = params().get("status") ?? "", found = await api.get("/fleet/rollouts", { status });
  const row = (r) => el("tr", {}, el("th", { scope: "row" }, el("a", { href: address("rollouts", {}, r.id) }, r.candidate)), el("td", {}, mark(r.status)), cells([stageName(r.stage), modelName(r.champion), String(r.boxes), `${when(r.made_at)} · ${r.made_by}`]), el("td", { class: "wordy", text: translated(r.why) }));
  host.replaceChildren(el("h1", { text: t("rolloutsTitle") }), el("div", { class: "filters", role: "search" }, field(t("status"), select([["", t("allRollouts")], ...STATUSES.map((s) => [s, t(`ro_${s}`)])], status, (s) => go("rollouts", { status: s })))),
    el("p", { id: "page-said", role: "status" }), el("section", { class: "card" }, found.length ? table(t("rolloutsTitle"), ["candidateModel", "status", "stageOf", "champion", "boxesOf", "begunBy", "whyNow"].map(t), found.map(row), "rollouts") : el("p", { text: t("noRollouts") })));
}

function stages(r) {
  const at = r.stages.indexOf(r.stage), over = r.status === "done";
  return el("ol", { class: "stages", "aria-label": t("stageOf") }, r.stages.map((name, i) => el("li", { class: i < at || over ? "past" : i === at ? "at" : null, "aria-current": i === at && !over ? "step" : null, text: stageName(name) })));
}
const gates = (r) => r.gates.length ? table(t("gates"), [t("gate"), t("verdictOf"), t("reasonOf")], r.gates.map((g) => el("tr", {}, el("th", { scope: "row", text: known("gn", g.name) }), el("td", {}, el("span", { class: `mark ${SAYS[g.verdict]}`, text: t(`g_${g.verdict}`) })), el("td", { class: "wordy", text: translated(g.reason) }))), "gates") : el("p", { text: t("noGates") });
const rings = (r) => table(t("rings"), ["ring", "boxesOf", "wished", "runIt", "holdIt", "tookBack"].map(t), r.rings.map((g) => el("tr", {}, el("th", { scope: "row", text: g.name }), [g.boxes, g.wished, g.running, g.holding, g.took_back].map((n) => el("td", { class: "num", text: String(n) })))));
// The entries' own words: the step, its reason, and which gate spoke.
function step(one) {
  const told = one.body ?? {}, halts = (told.gates ?? []).filter((g) => g.verdict === "halt").map((g) => g.reason);
  return el("li", {}, el("strong", { text: known("ra", one.action.replace(/^rollout\./, "")) }), ` · ${when(one.at)} · ${one.actor}`, told.stage ? ` · ${stageName(told.stage)}${told.to ? ` → ${told.to}` : ""}` : "", el("p", { class: "dim", text: translated(told.why ?? halts.join("; ")) }));
}

async function one(host, session, id) {
  const r = await api.get(`/fleet/rollouts/${id}`), again = () => one(host, session, id);
  const why = el("input", { id: "reason", maxlength: 300 });
  const act = (what) => guarded(async () => { await api.post(`/fleet/rollouts/${id}/${what}`, { reason: why.value.trim() }); await again(); host.querySelector("#page-said").textContent = t(WORD[what]); });
  const acts = session.permissions.includes("device.manage") ? [...(ACTS[r.status] ?? [])] : [];
  if (acts.length && r.stage === r.stages.at(-1)) acts.push("finish");
  // A redraw must not take a half-written reason away.
  const typed = document.getElementById("reason");
  if (typed) { why.value = typed.value; if (document.activeElement === typed) setTimeout(() => why.focus()); }
  host.replaceChildren(el("h1", { text: `${r.candidate} · ${t(`ro_${r.status}`)}` }), el("p", { id: "page-said", role: "status" }), el("p", {}, el("a", { href: address("rollouts") }, t("allOfRollouts")), ` · ${t("champion")}: ${modelName(r.champion)} · ${t("boxesN").replace("{n}", r.boxes)} · ${when(r.made_at)} ${t("byWhom")} ${r.made_by}`),
    el("div", { class: "figures" },
      el("section", { class: "card" }, stages(r), el("p", { text: translated(r.why) }), acts.length ? el("div", { class: "filters" }, field(t("reasonWhy"), why), ...acts.map((a) => button(t(WORD[a]), () => act(a), { class: a === "abort" ? "no" : a === "resume" ? "go" : null, id: `act-${a}` }))) : null),
      el("section", { class: "card" }, el("h2", { text: t("gates") }), r.judged_at ? el("p", { class: "dim", text: t("judgedAt").replace("{at}", when(r.judged_at)) }) : null, gates(r)),
      el("section", { class: "card" }, el("h2", { text: t("rings") }), rings(r)),
      el("section", { class: "card" }, el("h2", { text: t("historyOf") }), el("ol", { class: "looks", reversed: true }, [...r.history].reverse().map(step)), el("p", { class: r.intact ? "dim" : "off", text: t(r.intact ? "intact" : "broken") }))));
}

export async function enter(host, session, left) {
  leave();
  const id = pageArg(), draw = () => (id ? one(host, session, id) : list(host));
  await draw();
  if (!left.aborted) timer = setInterval(() => { if (!document.activeElement?.matches("#page button, #page select")) guarded(draw); }, EVERY_MS);
}
export function leave() { clearInterval(timer); }
