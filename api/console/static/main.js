// The review page: one case at a time, judged with one key; the next case's pictures are there before it is asked for.
import "/static/leaflet/leaflet.js";
import * as api from "./api.js";
import * as facts from "./facts.js";
import { apply, issueName, language, setLanguage, t } from "./strings.js";
import * as stage from "./stage.js";

const map = await import("./map.js");
const $ = (id) => document.getElementById(id);
const state = { items: [], current: null, cases: new Map(), last: null, asking: false, shownAt: 0, busy: false };
const MAX_CACHED = 40;
const NEWS = ["hello", "case.opened", "case.joined", "case.reopened", "case.judged", "case.moved", "case.split", "verdict.undone", "alert.opened", "alert.updated", "alert.cleared"];

function remember(whole) {
  state.cases.set(whole.id, whole);
  if (state.cases.size > MAX_CACHED) state.cases.delete(state.cases.keys().next().value);
}

async function guarded(work) {
  try {
    const done = await work();
    $("offline").hidden = true;
    return done;
  } catch (error) {
    if (error instanceof api.SignedOut) enter(false);
    else if (error instanceof api.Offline) $("offline").hidden = false;
    else if (error instanceof api.Refused) { $("said").textContent = error.message; await refresh(); }
    else throw error;
    return undefined;
  }
}

async function refresh() {
  await guarded(async () => {
    const page = await api.queue();
    state.items = page.items;
    const there = state.items.some((c) => c.id === state.current);
    const fresh = state.items.find((c) => c.id === state.current);
    if (there && fresh.version !== state.cases.get(state.current)?.version) await open(state.current);
    else if (!there && !state.asking) await open(state.items[0]?.id ?? null);
    list();
  });
}

function list() {
  const held = document.activeElement?.closest?.("#queue button")?.dataset.id;
  $("waiting").textContent = `${state.items.length}${state.items.length >= 50 ? "+" : ""} ${t("waiting")}`;
  $("queue").replaceChildren(...state.items.map((c) => {
    const li = document.createElement("li"), button = document.createElement("button"), small = document.createElement("small");
    button.type = "button";
    button.dataset.id = c.id;
    button.append(issueName(c.issue), small);
    small.textContent = `${c.number} · ${c.camera_name || c.camera_id} · ${facts.dwell(c.dwell_s)}`;
    button.setAttribute("aria-current", String(c.id === state.current));
    button.addEventListener("click", () => open(c.id));
    li.append(button);
    return li;
  }));
  // The list is drawn anew with each piece of news; who walks it by keyboard stays where they are.
  if (held) $("queue").querySelector(`[data-id="${held}"]`)?.focus();
}

async function open(id) {
  state.current = id;
  const none = id === null;
  $("empty").hidden = !none;
  for (const part of document.querySelectorAll(".queue, .stage, .side")) part.hidden = none;
  if (none) { list(); return; }
  await guarded(async () => {
    let whole = state.cases.get(id);
    const item = state.items.find((c) => c.id === id);
    if (!whole || (item && item.version !== whole.version)) { whole = await api.oneCase(id); remember(whole); }
    if (state.current !== id) return;
    stage.show(whole);
    facts.show(whole);
    map.show(whole, state.items.filter((c) => near(c, whole)));
    state.shownAt = performance.now();
    ask(false);
    list();
    const next = state.items[state.items.findIndex((c) => c.id === id) + 1];
    if (next && !state.cases.has(next.id)) api.oneCase(next.id).then((n) => { remember(n); stage.preload(n); }, () => {});
  });
}

function near(a, b) {
  const m = 111320;
  return Math.hypot((a.place.lat - b.place.lat) * m, (a.place.lon - b.place.lon) * m * Math.cos((b.place.lat * Math.PI) / 180)) <= 50;
}

async function decide(said) {
  if (!state.current || state.busy) return;
  state.busy = true;
  const id = state.current, at = state.items.findIndex((c) => c.id === id);
  const done = await guarded(() => api.verdict(id, { ...said, seconds: Math.round((performance.now() - state.shownAt) / 10) / 100 }));
  state.busy = false;
  if (!done) return;
  state.cases.delete(id);
  state.last = { id, verdict: done.verdicts[done.verdicts.length - 1].id };
  $("undo").disabled = false;
  const words = { confirm: "saidConfirm", reject: "saidReject", unsure: "saidUnsure" }[said.kind];
  $("said").textContent = `${done.number}: ${t(words)}${said.reason ? ` (${t(`r${said.reason}`)})` : ""}`;
  state.items.splice(at, 1);
  await open(state.items[at]?.id ?? state.items[at - 1]?.id ?? null);
  refresh();
}

async function takeBack() {
  if (!state.last) return;
  const { id, verdict } = state.last;
  state.last = null;
  $("undo").disabled = true;
  const done = await guarded(() => api.undo(id, verdict));
  if (!done) { $("said").textContent = t("noUndo"); return; }
  $("said").textContent = `${done.number}: ${t("saidUndo")}`;
  remember(done);
  state.items = (await api.queue()).items;
  await open(id);
}

function ask(on) {
  state.asking = on;
  $("reasons").hidden = !on;
  if (on) $("said").textContent = t("askReason");
}

async function reject(reason) {
  if (reason !== 9) { ask(false); await decide({ kind: "reject", reason }); return; }
  const dialog = $("other");
  $("other-text").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  dialog.addEventListener("close", () => {
    const text = $("other-text").value.trim();
    if (dialog.returnValue === "ok" && text) { ask(false); decide({ kind: "reject", reason, text }); }
  }, { once: true });
}

function step(by) {
  const at = state.items.findIndex((c) => c.id === state.current);
  const next = state.items[at + by];
  if (next) open(next.id);
}

const KEYS = {
  c: ["confirm", () => decide({ kind: "confirm" })], r: ["reject", () => ask(true)], u: ["unsure", () => decide({ kind: "unsure" })],
  z: ["undo", takeBack], j: ["kNext", () => step(1)], k: ["kPrev", () => step(-1)], " ": ["play", stage.toggle],
  ",": ["kFrame", () => stage.frame(-1)], ".": ["kFrame", () => stage.frame(1)], "?": ["kSheet", () => sheet()],
};

function onKey(event) {
  // Keys of an input method belong to it; shortcuts of the browser to the browser.
  if (event.isComposing || event.keyCode === 229 || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.closest("input, select, textarea, dialog") || $("review").hidden) return;
  if (event.key === " " && event.target.closest("button")) return;
  if (state.asking && /^[1-9]$/.test(event.key)) { event.preventDefault(); reject(Number(event.key)); return; }
  if (event.key === "Escape") { ask(false); return; }
  const known = KEYS[event.key.toLowerCase()];
  if (known) { event.preventDefault(); known[1](); }
}

function sheet() {
  $("sheet-keys").replaceChildren(...Object.entries(KEYS).flatMap(([key, [word]]) => {
    const dt = document.createElement("dt"), dd = document.createElement("dd"), kbd = document.createElement("kbd");
    kbd.textContent = key === " " ? "␣" : key.toUpperCase();
    dt.append(kbd);
    dd.textContent = t(word);
    return [dt, dd];
  }));
  $("sheet").showModal();
}

function words() {
  apply();
  stage.words();
  $("lang").textContent = t("lang");
  $("lang").lang = language() === "zh" ? "en" : "zh-CN";
  $("reasons").setAttribute("aria-label", t("askReason"));
  $("reasons").replaceChildren(...[1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => {
    const button = document.createElement("button"), kbd = document.createElement("kbd");
    button.type = "button";
    kbd.textContent = String(n);
    button.append(kbd, ` ${t(`r${n}`)}`);
    button.addEventListener("click", () => reject(n));
    return button;
  }));
}

function listen() {
  const news = new EventSource("/events");
  news.onopen = () => { $("offline").hidden = true; refresh(); };
  news.onerror = () => { if (!$("review").hidden) $("offline").hidden = false; };
  for (const kind of NEWS) news.addEventListener(kind, () => refresh());
  state.news = news;
}

function enter(session) {
  const inside = Boolean(session);
  $("login").hidden = inside;
  $("review").hidden = !inside;
  $("logout").hidden = !inside;
  state.news?.close();
  if (inside) { map.configure(session); refresh(); listen(); } else $("login-form").elements.username.focus();
}

$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target.elements;
  $("login-error").textContent = "";
  try {
    const session = await api.login(form.username.value, form.password.value);
    form.password.value = "";
    enter(session);
  } catch (error) {
    $("login-error").textContent = error instanceof api.Offline ? t("offline") : error instanceof api.Refused ? error.message : t("wrong");
  }
});
$("confirm").addEventListener("click", () => decide({ kind: "confirm" }));
$("reject").addEventListener("click", () => ask(!state.asking));
$("unsure").addEventListener("click", () => decide({ kind: "unsure" }));
$("undo").addEventListener("click", takeBack);
$("help").addEventListener("click", sheet);
$("sheet-close").addEventListener("click", () => $("sheet").close());
$("logout").addEventListener("click", async () => { await guarded(api.logout); enter(false); });
$("lang").addEventListener("click", () => { setLanguage(language() === "zh" ? "en" : "zh"); words(); if (state.current) open(state.current); else list(); });
document.addEventListener("keydown", onKey);
setInterval(() => { if (!$("review").hidden) refresh(); }, 10_000);

words();
stage.wire();
try { enter(await api.me()); } catch { enter(false); }
