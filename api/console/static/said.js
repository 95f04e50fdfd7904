// What the centre and the boxes say of themselves is English; here it becomes the reader's language. As in gettext the English
// sentence is the key, so that a box of an older version is understood too. Sentences come joined by "; ".
import { language, t } from "./strings.js";
import { SAID_WORDS } from "./words_said.js";

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
// A gap called why holds sentences of its own; any other ends with its sentence.
const GAP = "((?:(?!; ).)+?)", OWN = "(.+)";
const pattern = (en) => new RegExp(`^${en.split(/(\{\w+\})/).map((p, i) => (i % 2 ? (p === "{why}" ? OWN : GAP) : escaped(p))).join("")}$`, "s");
const known = Object.entries(SAID_WORDS).map(([key, [en, zh]]) => ({ key, en, zh, names: [...en.matchAll(/\{(\w+)\}/g)].map((m) => m[1]), find: pattern(en) }));
// Enough of an advice to know it by: a box cuts what is too long.
const EMPTY = new Set(["none", "no"]); // in the place of a figure that there is not yet
const COUNTS = /^\d+ [a-z ]+(, \d+ [a-z ]+)+$/;
const mends = known.filter((one) => one.key.startsWith("mend_")).map((one) => ({ begins: one.en.slice(0, 30), zh: one.zh }));

function part(text) {
  for (const { find, names, zh } of known) {
    const m = find.exec(text);
    if (m) return names.reduce((out, name, i) => out.replace(`{${name}}`, () => (name === "why" ? whole(m[i + 1]) : EMPTY.has(m[i + 1]) ? "–" : m[i + 1])), zh);
  }
  // What several looks at a place found, and what is wrong with a view.
  if (COUNTS.test(text)) return text.split(", ").map(part).join("、");
  return t(`v_${text}`) !== `v_${text}` ? t(`v_${text}`) : text;
}
function whole(text) {
  const advice = mends.map(({ begins, zh }) => ({ at: text.indexOf(begins), zh })).find(({ at }) => at >= 0);
  if (advice) return `${advice.at ? `${whole(text.slice(0, advice.at).trim())}。` : ""}${advice.zh}`;
  const one = part(text);
  return one === text ? text.split("; ").map(part).join("；") : one;
}
export const translated = (text) => (text && language() === "zh" ? whole(text) : text ?? "");
// A camera's reason in the box's own words; `unknown` and `offline` say all there is.
export const spoken = (camera) => (["unknown", "offline"].includes(camera.state) ? "" : translated(camera.reason));
