// Which key does what. People may change keys; digits, Escape, Tab, Enter and the arrows stay as they are.
export const DEFAULTS = {
  confirm: "c", fix: "f", reject: "r", unsure: "u", merge: "m", defer: "d", batch: "b", undo: "z", next: "j", previous: "k",
  play: " ", frameBack: ",", frameOn: ".", slower: "[", faster: "]", overlay: "o", loupe: "l", edit: "e", sheet: "?",
};
// An input method may give the wide form of a sign: ？ is ?, ，is a comma.
const plain = (key) => { const low = key.normalize("NFKC").replace("。", "."); return low.length === 1 ? low.toLowerCase() : low; };
const FIXED = /^([0-9]|Escape|Tab|Enter|Arrow.*|Shift|Control|Alt|Meta|CapsLock|Process|Dead|Unidentified)$/;
let own = {};

export const keyOf = (action) => own[action] ?? DEFAULTS[action];
export const changed = () => ({ ...own });
export function use(keys) { own = Object.fromEntries(Object.entries(keys ?? {}).filter(([action]) => action in DEFAULTS)); }
export function actionOf(key) {
  const low = plain(key);
  return Object.keys(DEFAULTS).find((action) => keyOf(action) === low) ?? null;
}
// Returns why a key cannot be taken, or null when it was: "fixed", or the action that has it.
export function change(action, key) {
  const low = plain(key);
  if (FIXED.test(low) || low.length > 20) return "fixed";
  const holder = actionOf(low);
  if (holder && holder !== action) return holder;
  if (low === DEFAULTS[action]) delete own[action]; else own[action] = low;
  return null;
}
export const shown = (key) => (key === " " ? "␣" : key.length === 1 ? key.toUpperCase() : key);
// A key that an input method composes with belongs to it, one with Ctrl, Alt or Cmd to the browser.
export const foreign = (e) => e.isComposing || e.keyCode === 229 || e.key === "Process" || e.ctrlKey || e.metaKey || e.altKey || e.repeat;
