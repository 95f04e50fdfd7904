// What to label next: the trainer's queue, each line with its picture, why it was chosen, and the verdict at once.
import * as api from "./api.js";
import { button, el, svg } from "./dom.js";
import { guarded } from "./shell.js";
import { issueName, t } from "./strings.js";

const SHOWN = 12;
const SIGNALS = ["uncertainty", "disagreement", "rare_camera", "rare_hour"];
let host = null, here = 0;

const say = (text) => { if (host) host.querySelector("#page-said").textContent = text; };
const picture = (line, alert) => line.sha256 ?? alert?.evidence.find((e) => e.media_type.startsWith("image/") && e.kind !== "sealed")?.sha256;

function frame(line, alert) {
  const sha = picture(line, alert);
  if (!sha) return el("p", { class: "dim", text: t("noPicture") });
  const [x1, y1, x2, y2] = alert?.box ?? [0, 0, 0, 0];
  return el("div", { class: "labelled" }, el("img", { src: api.fileUrl(sha), alt: `${line.number}: ${issueName(line.issue)}`, loading: "lazy" }), alert ? svg("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("rect", { x: x1, y: y1, width: x2 - x1, height: y2 - y1 })) : null);
}

function card(line, whole) {
  const judge = (said) => guarded(async () => { await api.verdict(line.case_id, said, whole.version); say(t("labelDone").replace("{n}", line.number)); await draw(); });
  const pass = () => guarded(async () => { await api.passOver(line.case_id); say(t("labelPassed").replace("{n}", line.number)); await draw(); });
  const why = SIGNALS.filter((s) => line.signals[s] >= 0.5).map((s) => t(`s_${s}`)).join(", ") || t("labelMixed");
  const act = (key, does) => button(t(key), does, { "aria-label": `${t(key)}: ${line.number}` });
  return el("li", { class: "card" }, el("h2", { text: `${line.number} · ${issueName(line.issue)}` }), frame(line, whole.alerts.at(-1)), el("p", { text: `${line.camera_name} · ${why} · ${t("labelScore").replace("{s}", line.score.toFixed(2))}` }),
    el("div", { class: "filters" }, act("v_confirm", () => judge({ kind: "confirm" })), act("r1", () => judge({ kind: "reject", reason: 1 })), act("v_unsure", () => judge({ kind: "unsure" })), act("labelPass", pass)));
}

async function draw() {
  const mine = (here += 1), found = await api.get("/labels", { limit: SHOWN });
  const wholes = await Promise.all(found.items.map((line) => api.oneCase(line.case_id)));
  if (mine !== here || !host) return;
  const list = host.querySelector("#label-list"), count = host.querySelector("#label-count");
  count.textContent = found.waiting ? t("labelWaiting").replace("{n}", found.waiting) : t("labelNone");
  list.replaceChildren(...found.items.map((line, i) => card(line, wholes[i])));
}

export async function enter(where) {
  host = where;
  host.replaceChildren(el("h1", { text: t("labelsTitle") }), el("p", { class: "dim", text: t("labelsHelp") }), el("p", { id: "label-count" }), el("p", { id: "page-said", role: "status" }), el("ul", { id: "label-list", class: "labels" }));
  await draw();
}
export function leave() { host = null; }
