// The cases this page holds: the one shown, a few behind, two ahead whose pictures are on their way.
import * as api from "./api.js";
import { preload } from "./stage.js";

const AHEAD = 2, MOST = 12, EXTEND_MS = 30_000;
export const held = [];
export let at = 0;
let filters = {}, filling = null, timer = null, arrived = () => {};
// Each letGo() begins a new round: what an older round still gets goes straight back, and the new one waits for that.
let round = 0, ended = Promise.resolve();

export const current = () => held[at] ?? null;
export const key = (task) => task.reading ?? task.whole.id;
const ids = (found) => found.map(key); // a reading goes by its own

export function setFilters(found) { filters = found; }

export function whenArrived(act) { arrived = act; }

const back = (found, last) => { const mine = ids(found); return mine.length ? api.release(mine, last).catch(() => {}) : Promise.resolve(); };

async function take(mine) {
  await ended;
  while (mine === round && (held.length - at - 1 < AHEAD || !current())) {
    const got = await api.next(held.map((task) => task.whole.id), filters);
    if (!got) return;
    if (mine !== round) { await back([got]); return; }
    if (held.some((task) => key(task) === key(got))) continue; // asked for by hand meanwhile
    held.push(got);
    preload(got.whole);
    arrived(); // the first of them is shown before the others are there
  }
}
// Take cases until two lie ahead. Returns when the queue has no more for us.
export function fill() {
  if (filling) return filling;
  const mine = take(round).finally(() => { if (filling === mine) filling = null; });
  filling = mine;
  return mine;
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
    back([old]);
  }
  return true;
}

// Hold a case out of turn; returns who has it when it is somebody else's, '' when it has left the queue, null when it is ours.
export async function takeOne(id) {
  const found = held.findIndex((task) => task.whole.id === id);
  if (found >= 0) { at = found; return null; }
  const mine = round;
  await ended;
  const { refused } = await api.hold([id]);
  if (id in refused) return refused[id];
  const task = { whole: await api.oneCase(id), reading: null };
  if (mine !== round) { await back([task]); return ""; }
  const came = held.findIndex((one) => key(one) === id); // by itself, meanwhile
  if (came >= 0) { at = came; return null; }
  put(task, current() ? at : 0);
  return null;
}

// Leases end; those of a page that is open do not. `lost` hears of a case that somebody else took in between.
export function keepAlive(lost) {
  clearInterval(timer);
  timer = setInterval(async () => {
    if (!ids(held).length) return;
    const answer = await api.hold(ids(held)).catch(() => null);
    for (const [id, by] of Object.entries(answer?.refused ?? {})) {
      const task = held.find((h) => key(h) === id);
      if (task) lost(task, by);
    }
  }, EXTEND_MS);
}
export const over = () => ended;
export function letGo(last = false) {
  clearInterval(timer);
  round += 1;
  const mine = held.splice(0), before = filling;
  at = 0;
  filling = null;
  const given = back(mine, last);
  ended = Promise.allSettled([ended, before, given]);
  return given;
}
