// The live wall: cases as they come, the map, the cameras' state. The filters live in the address.
import * as api from "./api.js";
import { make } from "./citymap.js";
import { el, field, select } from "./dom.js";
import { clock, when } from "./facts.js";
import { spoken } from "./said.js";
import { address, go, guarded, params } from "./shell.js";
import { ISSUES, issueName, t } from "./strings.js";

const KEPT = 40, MOST = 5000, MAP_MS = 1000, EARLIER = 12, DAY_MS = 86_400_000, CAMERAS_MS = 15_000;
const STATES = ["in_review", "second_review", "confirmed", "rejected", "filed", "dispatched", "handling", "closed"];
const FIT = ["good", "unknown"];
const LABEL = { "case.opened": "e_opened", "case.joined": "e_joined", "case.reopened": "e_reopened", "case.judged": "e_judged", "verdict.undone": "e_undone", "case.moved": "e_moved", "case.split": "e_split" };
let map = null, came = [], earlier = [], timer = null, soon = null, parts = {};

const wanted = () => { const p = params(); return { issue: p.get("issue") ?? "", state: p.get("state") ?? "", camera: p.get("camera") ?? "", hours: p.get("hours") ?? "24", find: p.get("find") ?? "" }; };
const set = (more) => go("wall", { ...wanted(), ...more });

function filters(cameras) {
  const now = wanted();
  return el("div", { class: "filters", role: "search" },
    field(t("issue"), select([["", t("allClasses")], ...Object.keys(ISSUES).map((i) => [i, issueName(i)])], now.issue, (issue) => set({ issue }))),
    field(t("state"), select([["", t("allStates")], ...STATES.map((s) => [s, t(`s_${s}`)])], now.state, (state) => set({ state }))),
    field(t("camera"), select([["", t("allCameras")], ...cameras.slice(0, 500).map((c) => [c.id, c.name || c.id])], now.camera, (camera) => set({ camera }))),
    field(t("hours"), select([["1", t("h1")], ["24", t("h24")], ["168", t("h168")], ["720", t("h720")]], now.hours, (hours) => set({ hours }))));
}

// A view that is not fit suspends the camera's zones: it stands with the cameras that are down.
const unfit = (c) => c.health && c.state !== "offline" && !FIT.includes(c.health.view);

function fits(event) {
  const now = wanted();
  if (event.kind === "camera.view") return !now.camera || event.camera_id === now.camera;
  return (!now.issue || event.issue === now.issue) && (!now.state || event.state === now.state) && (!now.camera || event.camera_id === now.camera);
}
const ofCamera = (e) => el("li", { class: "camnews" }, el("a", { href: address("setup", {}, e.camera_id) }, el("strong", { text: e.name || e.camera_id }), el("span", { text: ` ${t(`v_${e.view}`)}` }), el("small", { text: `${clock(e.at)} · ${t("camera")} ${e.camera_id}` })));
function arrivals() {
  const rows = [...came, ...earlier].filter(fits).slice(0, KEPT);
  parts.list.replaceChildren(...rows.map((e) => e.kind === "camera.view" ? ofCamera(e) : el("li", {}, el("a", { href: address("review", { case: e.case_id }) }, el("strong", { text: issueName(e.issue) }), el("span", { text: ` ${t(LABEL[e.kind] ?? "e_alert")} · ${t(`s_${e.state}`)}` }), el("small", { text: `${Date.now() - Date.parse(e.came) > DAY_MS ? when(e.came) : clock(e.came)} · ${e.number} · ${e.camera_id}` })))));
  parts.none.hidden = rows.length > 0;
}
function chosen(points) {
  parts.picked.replaceChildren(...points.map((p) => el("li", {}, el("a", { href: address("review", { case: p.id }) }, `${p.number} · ${issueName(p.issue)} · ${t(`s_${p.state}`)} · ${when(p.opened_at)}`))));
}
async function points(fit) {
  const now = wanted(), mine = parts, found = await api.get("/map", { issue: now.issue, state: now.state, camera: now.camera, hours: now.hours, limit: MOST + 1 }), more = found.splice(MOST).length > 0;
  if (mine !== parts) return found;
  parts.count.textContent = t(more ? "onMapMost" : "onMap").replace("{n}", found.length);
  map?.show(found, fit);
  return found;
}
async function cameras() {
  const mine = parts, found = await api.get("/cameras"), find = wanted().find.toLowerCase();
  if (mine !== parts) return found;
  const order = { failed: 0, offline: 1, stalled: 2, backing_off: 3, connecting: 4, unknown: 5, live: 6 };
  const rows = found.filter((c) => `${c.id} ${c.name}`.toLowerCase().includes(find)).sort((a, b) => unfit(b) - unfit(a) || order[a.state] - order[b.state] || a.id.localeCompare(b.id));
  parts.cameras.replaceChildren(...rows.slice(0, 200).map((c) => el("li", { class: `cam ${unfit(c) ? "unfit" : c.state}` }, el("a", { href: address("setup", {}, c.id) }, el("strong", { text: c.name || c.id }), el("span", { class: "mark", text: unfit(c) ? t(`v_${c.health.view}`) : t(`c_${c.state}`) }), el("small", { text: [spoken(c), c.health && !unfit(c) ? t(`v_${c.health.view}`) : "", c.health?.last_frame_at ? clock(c.health.last_frame_at) : ""].filter(Boolean).join(" · ") })))));
  parts.nocams.hidden = found.length > 0;
  map?.cameras(found);
  return found;
}

export async function enter(host, session, left) {
  leave();
  const all = await api.get("/cameras").catch(() => []);
  if (left.aborted) return;
  parts = { list: el("ol", { class: "arrivals", "aria-live": "polite" }), none: el("p", { text: t("noArrivals") }), count: el("p", { class: "dim", role: "status" }), picked: el("ul", { class: "picked" }), cameras: el("ul", { class: "cams" }), nocams: el("p", { text: t("noCameras") }), map: el("div", { class: "citymap", role: "region", "aria-label": t("cityMap") }) };
  const search = el("input", { type: "search", value: wanted().find, onchange: (e) => set({ find: e.target.value }) });
  host.replaceChildren(el("h1", { text: t("wallTitle") }), filters(all), el("p", { id: "page-said", role: "status" }),
    el("div", { class: "wall" }, el("section", { class: "card" }, el("h2", { text: t("arrivals") }), parts.none, parts.list), el("section", { class: "card" }, parts.map, parts.count, parts.picked), el("section", { class: "card" }, el("h2", { text: t("cameras") }), field(t("find"), search), parts.nocams, parts.cameras)));
  map = make(parts.map, chosen);
  arrivals();
  const [found, cams] = await Promise.all([points(true), cameras()]);
  if (left.aborted) return;
  // Who opens the page sees the newest cases at once, and from then on what comes.
  if (!came.length) { earlier = found.toSorted((a, b) => (a.opened_at < b.opened_at ? 1 : -1)).slice(0, EARLIER).map((c) => ({ ...c, kind: "case.opened", case_id: c.id, came: c.opened_at })); arrivals(); }
  if (!found.length) map.fit(cams);
  timer = setInterval(() => guarded(cameras), CAMERAS_MS);
}
export function news(event) {
  if (event.kind === "camera.view" && parts.cameras) guarded(cameras);
  if (!event.case_id && event.kind !== "camera.view") return;
  came = [{ ...event, came: new Date().toISOString() }, ...came].slice(0, KEPT);
  if (!parts.list) return;
  arrivals();
  soon ??= setTimeout(() => { soon = null; guarded(() => points(false)); }, MAP_MS); // not put off by the next: news may never pause
}
export function leave() {
  clearInterval(timer);
  clearTimeout(soon);
  soon = null;
  map?.gone();
  map = null;
  parts = {};
}
