// The review page: one case at a time on a lease, judged with one key; the next case's pictures are there before it is asked for.
import * as api from "./api.js";
import * as boxes from "./boxes.js";
import * as custody from "./custody.js";
import { chooseClass, chooseMerge, chooseReason, closeChoices, digit, openChoices } from "./choices.js";
import { $, button, el, select } from "./dom.js";
import * as facts from "./facts.js";
import * as keys from "./keys.js";
import * as leases from "./leases.js";
import { openBatch } from "./batch.js";
import { sheet } from "./sheet.js";
import * as map from "./map.js";
import { translated } from "./said.js";
import { go, guarded, params } from "./shell.js";
import * as stage from "./stage.js";
import { firstSteps } from "./start.js";
import { ISSUES, issueName, t } from "./strings.js";

const state = { last: null, shownAt: 0, busy: false, sent: null, waiting: [], total: 0, shown: null, setups: new Map(), editing: false, active: false, ready: false, looked: false, known: false };
const REFRESH_MS = 10_000, RETRY_MS = 3000, LOOK_MS = 250, DEFER_MIN = 30, SETUP_MS = 5 * 60_000;

export const said = (text) => { $("said").textContent = text; };

// A key belongs to the case that is on the screen, never to one that is still on its way there.
const seen = () => { const task = leases.current(); return task && leases.key(task) === state.shown ? task : null; };
const noCaseYet = () => { $("waiting").textContent = t("noCaseYet"); };
const ofCase = (act) => () => { const task = seen(); return task ? act(task) : noCaseYet(); };
// The second press of one key comes within a quarter of a second, and nobody has seen a picture that is on its way.
const justShown = () => performance.now() - state.shownAt < LOOK_MS;
const unseen = () => justShown() || stage.arriving();
const notSeenYet = () => said(t("notSeenYet"));

function show() {
  const task = leases.current(), none = task === null && state.looked;
  for (const part of document.querySelectorAll(".queue, .stage, .side")) part.hidden = task === null;
  $("empty").hidden = !none;
  if (!task || leases.key(task) !== state.shown) closeDialog("other");
  if (task === null) { state.shown = null; closeChoices(); if (none) firstSteps($("empty")); list(); return; }
  const { whole } = task, fresh = state.shown !== leases.key(task), drawn = boxes.current();
  state.shown = leases.key(task);
  stage.show(whole);
  facts.show(whole);
  map.show(whole);
  if (state.editing && !boxes.editing()) edit();
  if (!fresh && drawn && !boxes.current()) said(t("boxDropped"));
  if (fresh) {
    custody.clear();
    state.shownAt = performance.now();
    closeChoices();
    api.viewed(whole.id).catch(() => {});
  }
  list();
  around(whole);
}

async function around(whole) {
  const [place, zones, terms, behind] = await Promise.all([api.place(whole.id).catch(() => null), setupOf(whole.camera_id), api.get(`/cases/${whole.id}/terms`).catch(() => null), api.get(`/cases/${whole.id}/custody`).catch(() => null)]);
  if (leases.current()?.whole !== whole) return;
  if (terms) facts.terms(terms);
  if (behind) custody.show(whole, behind, (right) => state.session.permissions.includes(right));
  if (place) { facts.history(place); map.neighbours(place.near); }
  stage.setZones(zones, whole.id);
}
// Zones are drawn and permits end while the page is open: what was read is good for some minutes, what failed for nothing.
async function setupOf(camera) {
  if (!camera) return [];
  const now = performance.now(), known = state.setups.get(camera);
  if (known && now - known.at < SETUP_MS) return known.zones;
  if (state.setups.size > 200) state.setups.clear();
  const zones = api.setup(camera).then((found) => found.setup.zones, () => { state.setups.delete(camera); return []; });
  state.setups.set(camera, { at: now, zones });
  return zones;
}

// A blind reading stands in the list like any case: nobody can tell it by its absence.
function listed() {
  const readings = leases.held.filter((task) => task.reading && !state.waiting.some((c) => c.id === task.whole.id)).map((task) => ({ ...task.whole, held_by: null }));
  return { rows: [...readings, ...state.waiting].slice(0, Math.max(50, readings.length)), total: state.total + readings.length };
}

function list() {
  const focus = document.activeElement?.closest?.("#queue button")?.dataset.id, mine = leases.current()?.whole.id, { rows, total } = listed();
  $("waiting").textContent = state.active ? `${total} ${t("waiting")}` : "";
  $("queue").replaceChildren(...rows.map((c) => {
    const small = `${c.number} · ${c.camera_name || c.camera_id} · ${facts.dwell(c.dwell_s)}`;
    const row = button([issueName(c.issue), el("small", { text: small }), c.held_by ? el("small", { class: "held", text: `${t("heldBy")} ${c.held_by}` }) : null].filter(Boolean), () => open(c.id), { "data-id": c.id, "aria-current": String(c.id === mine) });
    return el("li", {}, row);
  }));
  // The list is drawn anew with each piece of news; who walks it by keyboard stays where they are.
  if (focus) $("queue").querySelector(`[data-id="${focus}"]`)?.focus();
}

export async function refresh() {
  if (!state.ready) return;
  await guarded(async () => {
    const [waiting, counts] = await Promise.all([api.waiting(filters()), api.counts()]);
    state.waiting = waiting;
    state.total = counts.waiting;
    if (!state.active) return; // who has left takes no more
    await leases.fill();
    if (!state.active) return;
    state.looked = true;
    if (seen()) list(); else show();
  });
}

async function open(id) {
  await guarded(async () => {
    const by = await leases.takeOne(id);
    if (by === null) show();
    else { said(by ? t("isHeldBy").replace("{name}", by) : t("hasLeft")); await refresh(); }
  });
}

async function advance() {
  if (!state.active) return; // a verdict was answered after its reviewer had left: nobody waits for the next case
  show();
  await leases.fill();
  if (leases.current() && !seen()) show();
  refresh();
}

// Whether a verdict stands whose answer was lost is known to the centre alone: `last` is what z then asks for and takes back.
const orLost = (work, last) => work.catch((error) => { if (error instanceof api.Offline) undoable(last); throw error; });
const ownVerdict = (whole, before) => whole.verdicts.findLast((v) => v.reviewer === state.session.username && !before.some((old) => old.id === v.id));
const same = (verdict, body) => body.kind !== "merge" && ["kind", "reason", "issue", "text", "box"].every((key) => String(verdict[key] ?? "") === String(body[key] ?? ""));

// The verdict goes with the version that was on the screen. New pictures of the box alone make no new case of it.
async function send(task, body) {
  for (let tries = 0; ; tries += 1) {
    try { return await api.verdict(task.whole.id, body, task.whole.version); } catch (error) {
      if (!(error instanceof api.Refused) || error.status !== 412) throw error;
      const now = await api.oneCase(task.whole.id), was = task.whole, own = ownVerdict(now, was.verdicts);
      task.whole = now;
      if (own && same(own, body)) return { verdict: own.id };
      if (own) undoable({ task, verdict: own.id, at: leases.held.indexOf(task) });
      if (tries < 2 && now.state === was.state && now.issue === was.issue && now.verdicts.length === was.verdicts.length) continue;
      if (!["in_review", "second_review"].includes(now.state)) { leases.drop(task); await advance(); } else { state.shown = null; show(); }
      said(`${now.number}: ${t("changedMeanwhile").replace("{state}", t(`s_${now.state}`))}`);
      return null;
    }
  }
}

const SAID = { confirm: "saidConfirm", reject: "saidReject", unsure: "saidUnsure", merge: "saidMerge" };
async function decide(told, task) {
  if (state.busy || task !== seen()) return;
  if (unseen()) { notSeenYet(); return; }
  const box = told.kind === "confirm" ? boxes.current() : null;
  const body = { ...told, ...(box ? { box } : {}), seconds: Math.round((performance.now() - state.shownAt) / 10) / 100 };
  const lost = { task, at: leases.held.indexOf(task), before: task.whole.verdicts }, earlier = state.last;
  undoable(null);
  state.busy = true;
  state.sent = guarded(() => orLost(task.reading ? api.read(task.reading, body).then(() => ({})) : send(task, body), lost), async (error) => {
    // Judged by somebody else, or a reading whose first verdict was taken back meanwhile, or whose answer was lost.
    if (error.status === 409 || error.status === 404) { leases.drop(task); await advance(); }
    if (error.status === 409 && earlier?.task === task) undoable(earlier);
  }).finally(() => { state.busy = false; });
  const done = await state.sent;
  if (!done) return;
  undoable({ task, verdict: done.verdict, at: leases.held.indexOf(task) });
  said(`${task.whole.number}: ${t(SAID[told.kind])}${told.reason ? ` (${t(`r${told.reason}`)})` : told.issue ? ` (${issueName(told.issue)})` : ""}`);
  leases.drop(task);
  state.waiting = state.waiting.filter((c) => c.id !== task.whole.id);
  await guarded(advance);
}

let undoTimer = null;
function undoable(last) { state.last = last; offerUndo(); }
function offerUndo() {
  const b = document.querySelector('[data-action="undo"]');
  clearTimeout(undoTimer);
  if (!b) return;
  b.disabled = !state.last;
  if (state.last) undoTimer = setTimeout(() => undoable(null), (state.undoS ?? 30) * 1000);
}

// Pressed while a verdict is on its way, it is that verdict which is meant: none before it.
async function takeBack() {
  if (state.busy && !(await state.sent)) return;
  if (!state.last) { said(t("undoNothing")); return; }
  const { last } = state, { task, at, before } = last;
  undoable(null);
  if (last.batch) { await guarded(async () => takeBackAll(await orLost(last.batch(), last))); return; }
  await guarded(async () => {
    if (task.reading) await orLost(api.unread(task.reading), last);
    else {
      const verdict = last.verdict ?? ownVerdict(await orLost(api.oneCase(task.whole.id), last), before)?.id;
      if (!verdict) { said(`${task.whole.number}: ${t("undoNone")}`); return; }
      task.whole = await orLost(api.undo(task.whole.id, verdict), last);
      if (!state.active) return;
      await api.hold([task.whole.id]);
      if (!state.active) { await api.release([task.whole.id]); return; }
    }
    leases.drop(task); // held still, when the answer of its verdict was lost
    leases.put(task, Math.max(0, Math.min(at, leases.held.length)));
    show();
    said(`${task.whole.number}: ${t("saidUndo")}`);
    refresh();
  });
}

async function takeBackAll(verdicts) {
  let done = 0, why = "";
  for (const [i, [id, verdict]] of verdicts.entries()) {
    try { await api.undo(id, verdict); done += 1; } catch (error) {
      if (!(error instanceof api.Refused)) { undoable({ batch: async () => verdicts.slice(i) }); await guarded(() => { throw error; }); break; }
      why = `; ${translated(error.message)}`;
    }
  }
  said(t("batchUndone").replace("{n}", done) + why);
  await refresh();
}

async function defer(task) {
  if (justShown()) { notSeenYet(); return; }
  const done = await guarded(() => api.defer(task.whole.id, DEFER_MIN).catch((error) => {
    if (!task.reading || !(error instanceof api.Refused)) throw error;
    return { until: new Date(Date.now() + DEFER_MIN * 60_000).toISOString() }; // the refusal would tell what nobody should: that it is a reading
  }));
  if (!done) return;
  leases.drop(task);
  said(`${task.whole.number}: ${t("saidDefer")} ${facts.clock(done.until)}`);
  await guarded(advance);
}

async function merge(task) {
  const found = await guarded(() => api.suggestions(task.whole.id));
  if (!found || task !== seen()) return;
  if (!found.length) { said(t("noNeighbour")); return; }
  chooseMerge(found, (into) => decide({ kind: "merge", into }, task));
}

// A case that may be read no more, such as one that was merged away, costs the others of a batch nothing.
const there = (id) => api.oneCase(id).catch((error) => { if (error instanceof api.Refused) return null; throw error; });
async function batch(task) {
  if (task.reading) { said(t("batchAlone")); return; }
  const done = await openBatch(task.whole, () => task === seen(), (cases, verdict) => {
    const ids = cases.map((c) => c.id), stored = async () => (await Promise.all(ids.map(there))).filter(Boolean).map((c) => [c.id, ownVerdict(c, [])?.id]).filter(([, id]) => id);
    undoable(null);
    return orLost(api.batch(task.whole.id, cases, verdict), { batch: stored });
  });
  if (!done) return;
  for (const id of done.judged) { const held = leases.held.find((h) => h.whole.id === id); if (held) leases.drop(held); }
  undoable(done.judged.length ? { batch: async () => Object.entries(done.verdicts) } : null);
  said(t("batchDone").replace("{n}", done.judged.length) + Object.values(done.refused).map((why) => `; ${why}`).join(""));
  await guarded(advance);
}

async function reject(task, reason, typed = "") {
  if (reason !== 9) { closeChoices(); await decide({ kind: "reject", reason }, task); return; }
  const dialog = $("other");
  $("other-text").value = typed;
  dialog.returnValue = "";
  dialog.showModal();
  dialog.addEventListener("close", () => {
    const text = $("other-text").value.trim();
    if (dialog.returnValue !== "ok" || !text) return;
    if (task === seen() && unseen()) { notSeenYet(); reject(task, reason, text); return; }
    closeChoices();
    decide({ kind: "reject", reason, text }, task);
  }, { once: true });
}

function step(by) {
  if (leases.step(by)) { guarded(advance); return; }
  said(t(by > 0 ? "noNext" : "noPrevious"));
}
function edit() {
  state.editing = !state.editing;
  $("edit").setAttribute("aria-pressed", String(state.editing));
  stage.editBox(state.editing);
  if (state.editing) said(t("boxHelp"));
}
function overlay() { stage.nextLayers(); stage.layers($("layers"), keepLayers); keepLayers(); }
const keepLayers = async () => { if (state.known) await api.keep({ keys: keys.changed(), hidden: stage.hiddenLayers() }).catch(() => {}); };

const ACTIONS = {
  confirm: ofCase((task) => decide({ kind: "confirm" }, task)), fix: ofCase((task) => chooseClass((issue) => decide({ kind: "confirm", issue }, task))),
  reject: ofCase((task) => chooseReason((reason) => reject(task, reason))), unsure: ofCase((task) => decide({ kind: "unsure" }, task)),
  merge: ofCase(merge), defer: ofCase(defer), batch: ofCase(batch), undo: takeBack, next: () => step(1), previous: () => step(-1), play: stage.toggle, frameBack: () => stage.frame(-1), frameOn: () => stage.frame(1),
  slower: () => stage.speed(-1), faster: () => stage.speed(1), overlay, loupe: stage.loupe, edit, sheet: async () => { await state.own; if (state.active && state.known) sheet(() => { keepLayers(); words(); }); },
};

export function onKey(event) {
  // Until its next frame a browser leaves the focus in a dialog that has just closed: a key of that moment is meant for the page.
  const target = event.target.closest("dialog:not([open])") ? document.body : event.target;
  if (keys.foreign(event) || $("review").hidden || target.closest("input:not([type=checkbox]):not([type=range]), select, textarea, dialog[open]")) return;
  if (event.key === "Enter" || (event.key === " " && target.closest("button, input"))) return;
  if (openChoices() && /^[0-9]$/.test(event.key)) { event.preventDefault(); digit(Number(event.key)); return; }
  if (event.key === "Escape") { closeChoices(); if (state.editing) edit(); return; }
  const action = keys.actionOf(event.key);
  if (action) { event.preventDefault(); ACTIONS[action](); }
}

function buttons() {
  const make = (action, cls) => button([el("kbd", { text: keys.shown(keys.keyOf(action)) }), " ", el("span", { text: t(`k_${action}`) })], () => ACTIONS[action](), { class: cls, "data-action": action, id: action === "undo" ? null : `do-${action}` });
  $("verdict").replaceChildren(make("confirm", "go"), make("reject", "no"), make("fix", ""), make("unsure", ""), make("merge", ""), make("defer", ""), make("batch", ""), make("undo", ""));
  offerUndo();
}

const filters = () => ({ issue: params().get("issue"), camera: params().get("camera") });
function filterBox() {
  const now = filters();
  $("queue-filter").replaceChildren(select([["", t("allClasses")], ...Object.keys(ISSUES).map((i) => [i, issueName(i)])], now.issue ?? "", (issue) => go("review", { issue, camera: now.camera }), { "aria-label": t("issue") }));
}

export function words() {
  stage.words();
  stage.layers($("layers"), keepLayers);
  $("layers").setAttribute("aria-label", t("layers"));
  $("choices").setAttribute("aria-label", t("choices"));
  buttons();
  filterBox();
  if (leases.current()) { state.shown = null; show(); } else if (state.active) show();
}

// Asked for until they come: with any others a key would decide what its person does not mean, and they would be kept in place of the own.
async function ownKeys(left) {
  while (!left.aborted) {
    const kept = await guarded(api.preferences);
    if (left.aborted) return;
    if (kept) { keys.use(kept.keys); stage.hideLayers(kept.hidden); state.known = true; }
    if (state.known) return;
    await new Promise((done) => { setTimeout(done, RETRY_MS); });
  }
}

// No case is shown before the person's own keys are known, and a case of the address before all others.
export async function enter(session, left) {
  const wanted = JSON.stringify(filters()), wish = params().get("case");
  Object.assign(state, { active: true, ready: false, looked: false, session, undoS: session.undo_s });
  if (state.wanted !== undefined && state.wanted !== wanted) leases.letGo();
  state.wanted = wanted;
  leases.setFilters(filters());
  words();
  state.own = ownKeys(left);
  await state.own;
  if (left.aborted) return;
  words();
  leases.keepAlive((task, by) => {
    const was = leases.current() === task;
    leases.drop(task);
    if (was) { guarded(advance); said(by ? t("leaseLost").replace("{name}", by) : t("hasLeft")); }
  });
  clearInterval(state.timer);
  state.timer = setInterval(refresh, REFRESH_MS);
  if (wish) await open(wish);
  if (left.aborted) return;
  state.ready = true;
  await refresh();
}
function closeDialog(id) { const dialog = $(id); if (dialog.open) dialog.close(""); }
// Gives the cases back; what is not held any more is not left on the screen either.
export function leave() {
  Object.assign(state, { active: false, ready: false, looked: false });
  clearInterval(state.timer);
  for (const id of ["sheet", "other", "unseal", "batch"]) closeDialog(id);
  const given = leases.letGo();
  show();
  return given;
}

// News of the live feed: the case on the screen is read anew when it has changed, and left when it is decided.
// Older news is passed over: a verdict and its undo may both be told after the undo is on the screen.
export async function news(event) {
  if (!state.active) return;
  const task = leases.held.find((h) => h.whole.id === event?.case_id && !h.reading);
  if (task && event.version > task.whole.version && !state.busy) {
    await guarded(async () => {
      const was = leases.current() === task;
      if (!["in_review", "second_review"].includes(event.state)) { leases.drop(task); if (was) { said(`${task.whole.number}: ${t(`s_${event.state}`)}`); await advance(); } return; }
      task.whole = await api.oneCase(task.whole.id);
      if (was) show();
    });
  }
  await refresh();
}
export function wire() {
  stage.wire();
  leases.whenArrived(() => { if (state.active && !seen()) show(); });
  $("edit").addEventListener("click", edit);
  document.addEventListener("keydown", onKey);
  document.addEventListener("sheet", () => ACTIONS.sheet());
  addEventListener("pagehide", () => { leases.letGo(true); });
}
