// The fleet: boxes as they shall be and as they are, what is wrong with each, and the model in the shadow. Filters live in the address.
import * as api from "./api.js";
import { button, el, field, select } from "./dom.js";
import { fixed, when } from "./facts.js";
import { translated } from "./said.js";
import { differences } from "./shadow.js";
import { address, go, guarded, pageArg, params } from "./shell.js";
import { t } from "./strings.js";

const PAGE = 500, MOST = 5000, ROWS = 200, EVERY_MS = 15_000, OWN = "own";
// As on the centre's metrics page (api/fleet_metrics.py), where each has its reason.
const DISK_SHARE = 0.1, HOT_C = 85, CLOCK_S = 2, QUEUE = 1000;
let timer = null, parts = {};

const wanted = () => { const p = params(); return { state: p.get("state") ?? "", find: p.get("find") ?? "", sort: p.get("sort") ?? "wrong" }; };
const set = (more) => go("fleet", { ...wanted(), ...more });
const fill = (key, values) => Object.entries(values).reduce((text, [k, v]) => text.replace(`{${k}}`, v), t(key));

export function ago(text, now = Date.now()) {
  if (!text) return t("neverSeen");
  const s = Math.max(0, Math.round((now - new Date(text)) / 1000));
  return s < 120 ? fill("agoS", { n: s }) : s < 7200 ? fill("agoM", { n: Math.round(s / 60) }) : s < 172_800 ? fill("agoH", { n: Math.round(s / 3600) }) : fill("agoD", { n: Math.round(s / 86_400) });
}
const LOOK = { reporting: "good", never: "dim" };
const stateOf = (b) => (!b.last_seen_at ? "never" : !b.online ? "silent" : b.reported.mode === "safe" ? "safe" : "reporting");

// What is wrong with a box, by its last heartbeat; a silent box is wrong by its silence alone.
export function wrong(b) {
  const r = b.reported, out = [];
  if (stateOf(b) === "never") return out;
  if (!b.online) out.push("silent");
  if (b.drift.length) out.push("drift");
  if (!b.online) return out;
  if (r.mode === "safe") out.push("safe");
  if (b.cameras_live < b.cameras) out.push("streams");
  if (r.disk_bytes && r.disk_free_bytes < DISK_SHARE * r.disk_bytes) out.push("disk");
  if (r.temperature_c > HOT_C) out.push("hot");
  if (Math.abs(r.clock_offset_s ?? 0) > CLOCK_S) out.push("clock");
  if (r.outbox_items > QUEUE) out.push("queue");
  if ((r.load?.stretch ?? 1) > 1) out.push("overload");
  if (r.config_problem) out.push("config");
  return out;
}

const model = (b) => b.reported.fleet?.model || (b.reported.model_name ? `${b.reported.model_name}@${b.reported.model_version}` : "–");
const config = (b) => b.reported.fleet?.config_version || t("ownConfig");
const labels = (b) => Object.entries(b.labels).map(([k, v]) => `${k}=${v}`).join(" ");
const disk = (r) => (r.disk_bytes ? `${Math.round((100 * r.disk_free_bytes) / r.disk_bytes)} %` : "–");

// The centre's words for a difference are English; the reason within is the box's own.
const DRIFT = /^(\w+): shall be (.*?), is (.*?)(?: \((.*)\))?$/;
const WHAT = { configuration: "boxConfig", model: "boxModel", shadow: "shadowOf" };
const named = (text) => ({ none: "–", own: t("ownModel") })[text] ?? text;
function drifted(text) {
  const m = DRIFT.exec(text);
  return m ? fill("driftLine", { what: t(WHAT[m[1]] ?? m[1]), wanted: named(m[2]), has: named(m[3]) }) + (m[4] ? ` (${translated(m[4])})` : "") : translated(text);
}

// What a box has, and under it what it shall have where that is something else.
function against(has, wish, what, b) {
  const off = b.drift.some((d) => d.startsWith(`${what}:`));
  return el("td", {}, el("span", { text: has }), off ? el("br") : null, off ? el("small", { class: "off", text: fill("shallBe", { wanted: wish }) }) : null);
}
const marks = (words) => words.map((w) => el("span", { class: `mark bad`, text: t(`w_${w}`) }));
const wishes = (b) => ({ model: !b.desired.model || b.desired.model === OWN ? t("ownModel") : b.desired.model, config: b.desired.config_version || t("ownConfig"), shadow: b.desired.shadow?.model ?? "–" });

function row(b) {
  const r = b.reported, w = wishes(b), state = stateOf(b), problems = wrong(b);
  return el("tr", {}, el("th", { scope: "row" }, el("a", { href: address("fleet", {}, b.device_id) }, b.device_id), el("small", { class: "dim labelsof", text: labels(b) })),
    el("td", {}, el("span", { class: `mark ${LOOK[state] ?? "bad"}`, text: t(`bs_${state}`) }), el("small", { class: "dim labelsof", text: b.last_seen_at ? ago(b.last_seen_at) : "" })),
    el("td", {}, marks(problems.filter((p) => p !== "silent" && p !== "safe"))),
    against(model(b), w.model, "model", b), against(config(b), w.config, "configuration", b),
    ...[`${b.cameras_live} / ${b.cameras}`, String(r.outbox_items ?? "–"), disk(r), fixed(r.temperature_c, 0, "°C"), fixed(r.clock_offset_s, 1, "s")].map((text) => el("td", { class: "num", text })));
}

const ORDER = { id: (a, b) => a.device_id.localeCompare(b.device_id), seen: (a, b) => String(a.last_seen_at ?? "").localeCompare(String(b.last_seen_at ?? "")), wrong: (a, b) => wrong(b).length - wrong(a).length || a.device_id.localeCompare(b.device_id) };
const STATES = { reporting: (b) => stateOf(b) === "reporting", silent: (b) => stateOf(b) === "silent", never: (b) => stateOf(b) === "never", safe: (b) => stateOf(b) === "safe", trouble: (b) => wrong(b).length > 0, drift: (b) => b.drift.length > 0 };

async function every() {
  const out = [];
  for (;;) {
    const found = await api.get("/fleet/boxes", { limit: PAGE, after: out.at(-1)?.device_id ?? "" });
    out.push(...found);
    if (found.length < PAGE || out.length >= MOST) return out;
  }
}

async function draw() {
  const all = await every(), now = wanted(), find = now.find.toLowerCase();
  if (!parts.rows) return;
  const fits = all.filter((b) => (STATES[now.state]?.(b) ?? true) && `${b.device_id} ${labels(b)} ${model(b)} ${b.reported.software_version ?? ""}`.toLowerCase().includes(find)).sort(ORDER[now.sort] ?? ORDER.wrong);
  parts.tiles.replaceChildren(...["reporting", "silent", "never", "safe", "trouble", "drift"].map((s) => el("a", { class: "tile", href: address("fleet", { ...now, state: now.state === s ? "" : s }), "aria-current": now.state === s ? "true" : null }, el("strong", { text: String(all.filter(STATES[s]).length) }), el("span", { text: t(`bs_${s}`) }))));
  parts.rows.replaceChildren(...fits.slice(0, ROWS).map(row));
  parts.count.textContent = fits.length ? fill("nBoxes", { n: fits.length, all: all.length }) + (fits.length > ROWS ? ` · ${fill("moreBoxes", { n: fits.length - ROWS })}` : "") : t("noBoxes");
}

function filters() {
  const now = wanted(), states = [["", t("allBoxes")], ...Object.keys(STATES).map((s) => [s, t(`bs_${s}`)])];
  return el("div", { class: "filters", role: "search" }, field(t("boxState"), select(states, now.state, (state) => set({ state }))),
    field(t("sortBy"), select(Object.keys(ORDER).map((s) => [s, t(`by_${s}`)]), now.sort, (sort) => set({ sort }))),
    field(t("findBox"), el("input", { type: "search", value: now.find, onchange: (e) => set({ find: e.target.value }) })));
}

async function list(host, left) {
  parts = { rows: el("tbody"), count: el("p", { class: "dim", role: "status", id: "page-said" }), tiles: el("div", { class: "tiles" }) };
  const head = ["box", "lastSeen", "wrongNow", "boxModel", "boxConfig", "h_streams", "h_queue", "h_disk", "h_temp", "h_clock"].map((k, i) => el("th", { scope: "col", class: i > 4 ? "num" : null, text: t(k) }));
  host.replaceChildren(el("h1", { text: t("fleetTitle") }), parts.tiles, filters(), parts.count,
    el("section", { class: "card" }, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("boxes") }, el("table", { id: "boxes" }, el("thead", {}, el("tr", {}, head)), parts.rows))));
  await draw();
  if (!left.aborted) timer = setInterval(() => guarded(draw), EVERY_MS);
}

function cameras(r) {
  const head = [t("camera"), t("boxState"), t("viewOf"), t("reasonOf")].map((text) => el("th", { scope: "col", text }));
  const line = (c) => el("tr", {}, el("th", { scope: "row" }, el("a", { href: address("setup", {}, c.camera_id) }, c.camera_id)), el("td", { text: t(`c_${c.state}`) }), el("td", { text: t(`v_${c.view ?? "unknown"}`) }), el("td", { text: translated(c.reason) }));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("camsOf") }, el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, (r.cameras ?? []).map(line))));
}

// What a box refused or took back it does not try again by itself; a person says what has changed since.
const stuck = (b) => Boolean(b.reported.fleet?.shadow?.problem && b.desired.shadow) || Boolean(b.desired.model && b.reported.fleet?.model_refused === b.desired.model);
function tryAgain(host, b, session) {
  if (!stuck(b)) return null;
  if (!session.permissions.includes("device.manage")) return el("p", { class: "dim", text: t("notAgain") });
  const why = el("input", { id: "again-why", maxlength: 300 });
  const send = async () => {
    if (!why.value.trim()) { why.focus(); return; }
    await api.put(`/fleet/boxes/${encodeURIComponent(b.device_id)}`, { again: why.value.trim() });
    await oneBox(host, b.device_id, session);
    document.getElementById("page-said").textContent = t("againSaid");
  };
  return el("div", {}, el("p", { class: "dim", text: t("notAgain") }), el("div", { class: "filters" }, field(t("againWhy"), why), button(t("retry"), () => guarded(send), { id: "again" })));
}

async function oneBox(host, id, session) {
  const b = await api.get(`/fleet/boxes/${encodeURIComponent(id)}`), r = b.reported, w = wishes(b), l = r.load;
  const facts = [
    ["boxState", `${t(`bs_${stateOf(b)}`)} · ${ago(b.last_seen_at)}${b.last_seen_at ? ` (${when(b.last_seen_at)})` : ""}`], ["boxLabels", labels(b) || "–"],
    ["boxModel", `${model(b)} · ${fill("shallBe", { wanted: w.model })}`], ["boxConfig", `${config(b)} · ${fill("shallBe", { wanted: w.config })}`],
    ["streams", `${b.cameras_live} / ${b.cameras}`], ["queued", String(r.outbox_items ?? "–")], ["diskFree", disk(r)], ["temperature", fixed(r.temperature_c, 0, "°C")], ["clockOff", fixed(r.clock_offset_s, 3, "s")],
    ["boxLoad", l ? fill("loadWords", { decode: l.decode.toFixed(2), inference: l.inference.toFixed(2), stretch: l.stretch.toFixed(1) }) : "–"], ["uptime", fixed((r.uptime_s ?? 0) / 3600, 1, "h")],
    ["softwareOf", r.software_version ?? "–"], ["standsOn", Object.entries(r.versions ?? {}).map(([k, v]) => `${k} ${v}`).join(", ") || "–"], ...(r.config_problem ? [["configSaid", translated(r.config_problem)]] : []),
  ];
  host.replaceChildren(el("h1", { text: `${t("box")} ${b.device_id}` }), el("p", { id: "page-said", role: "status" }), el("p", {}, el("a", { href: address("fleet") }, t("allFleet"))), el("p", { class: "row" }, marks(wrong(b))),
    el("div", { class: "figures" },
      el("section", { class: "card" }, el("dl", { class: "boxfacts" }, facts.flatMap(([k, v]) => [el("dt", { text: t(k) }), el("dd", { text: v })]))),
      el("section", { class: "card", id: "drift" }, el("h2", { text: t("driftOf") }), b.drift.length ? el("ul", {}, b.drift.map((d) => el("li", { text: drifted(d) }))) : el("p", { text: t("noDrift") }), tryAgain(host, b, session)),
      el("section", { class: "card", id: "shadow" }, el("h2", { text: t("shadowOf") }), differences(r.fleet?.shadow)),
      el("section", { class: "card" }, el("h2", { text: t("camsOf") }), cameras(r))));
}

export async function enter(host, session, left) {
  leave();
  if (pageArg()) await oneBox(host, pageArg(), session); else await list(host, left);
}
export function leave() { clearInterval(timer); parts = {}; }
