// The cases this page holds: the one shown, a few behind, two ahead whose pictures are on their way.
import * as api from "./api.js";
import { preload } from "./stage.js";

const AHEAD = 2, MOST = 12, EXTEND_MS = 30_000;
export const held = [];
export let at = 0;
let filters = {}, filling = null, timer = null;

export const current = () => held[at] ?? null;
export const key = (task) => task.reading ?? task.whole.id;
const ids = () => held.filter((task) => !task.reading).map((task) => task.whole.id);

export function setFilters(found) { filters = found; }

// Take cases until two lie ahead. Returns when the queue has no more for us.
export function fill() {
  filling ??= (async () => {
    while (held.length - at - 1 < AHEAD || !current()) {
      const got = await api.next(held.map((task) => task.whole.id), filters);
      if (!got) break;
      held.push(got);
      preload(got.whole);
    }
  })().finally(() => { filling = null; });
  return filling;
}

export function drop(task) {
  const i = held.indexOf(task);
  if (i < 0) return;
  held.splice(i, 1);
  if (i < at) at -= 1;
  at = Math.max(0, Math.min(at, held.length - 1));
}
export function put(task, where = at) { held.splice(where, 0, task); at = where; }
export function step(by) {
  if (!held[at + by]) return false;
  at += by;
  while (held.length > MOST && at > 0) {
    const [old] = held.splice(0, 1);
    at -= 1;
    if (!old.reading) api.release([old.whole.id]).catch(() => {});
  }
  return true;
}

// Hold a case out of turn; returns who has it when it is somebody else's, '' when it has left the queue, null when it is ours.
export async function takeOne(id) {
  const found = held.findIndex((task) => task.whole.id === id);
  if (found >= 0) { at = found; return null; }
  const { refused } = await api.hold([id]);
  if (id in refused) return refused[id];
  put({ whole: await api.oneCase(id), reading: null }, current() ? at : 0);
  return null;
}

// Leases end; those of a page that is open do not. `lost` hears of a case that somebody else took in between.
export function keepAlive(lost) {
  clearInterval(timer);
  timer = setInterval(async () => {
    if (!ids().length) return;
    const answer = await api.hold(ids()).catch(() => null);
    for (const [id, by] of Object.entries(answer?.refused ?? {})) {
      const task = held.find((h) => h.whole.id === id && !h.reading);
      if (task) lost(task, by);
    }
  }, EXTEND_MS);
}
export function letGo(last = false) {
  clearInterval(timer);
  const mine = ids();
  held.length = 0;
  at = 0;
  return mine.length ? api.release(mine, last).catch(() => {}) : Promise.resolve();
}
