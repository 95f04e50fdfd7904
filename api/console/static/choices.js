// The second key: a reason, a class, a neighbour. One list at a time, each entry under a digit.
import { $, button, el } from "./dom.js";
import { ISSUES, issueName, t } from "./strings.js";

let open = null;
export const openChoices = () => open !== null;

export function closeChoices() {
  open = null;
  $("choices").hidden = true;
  $("choices").replaceChildren();
}
function choose(title, entries) {
  open = entries;
  const list = entries.map(({ digit: n, text, act }) => button([el("kbd", { text: String(n) }), ` ${text}`], act));
  $("choices").replaceChildren(el("p", { class: "ask", text: title }), ...list);
  $("choices").hidden = false;
}
export function digit(n) { open?.find((entry) => entry.digit === n)?.act(); }

export function chooseReason(done) {
  choose(t("askReason"), [1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => ({ digit: n, text: t(`r${n}`), act: () => done(n) })));
}
export function chooseClass(done) {
  choose(t("askClass"), Object.keys(ISSUES).map((issue, i) => ({ digit: (i + 1) % 10, text: issueName(issue), act: () => { closeChoices(); done(issue); } })));
}
export function chooseMerge(found, done) {
  choose(t("askMerge"), found.slice(0, 9).map((c, i) => ({ digit: i + 1, text: `${c.number} · ${c.camera_id} · ${Math.round(c.distance_m)} m · ${t(`s_${c.state}`)}`, act: () => { closeChoices(); done(c.case_id); } })));
}
