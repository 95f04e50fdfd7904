// From a case back: which box, camera, frame, model and rule saw it, and where the spans of each alert are.
import * as api from "./api.js";
import { el } from "./dom.js";
import { when } from "./facts.js";
import { address, pageArg } from "./shell.js";
import { issueName, t } from "./strings.js";

function way(one, session) {
  const may = (right) => session.permissions.includes(right), link = (yes, href, text) => (yes ? el("a", { href }, text) : text);
  const rows = [
    ["box", [link(may("audit.read"), address("fleet", {}, one.device_id), one.device_id), ` · ${t("softwareOf")} ${one.software_version}`]], ["camera", link(may("camera.read"), address("setup", {}, one.camera_id), one.camera_id)],
    ["frameAt", when(one.frame_at, { fractionalSecondDigits: 3, dateStyle: undefined, timeStyle: undefined, year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" })], ["model", `${one.model} ${one.model_version}`], ["modelHash", one.model_sha256], ["rule", one.rule], ["receivedAt", when(one.received_at)],
    ["trace", link(one.page, one.page, one.trace_id)],
  ];
  return el("section", { class: "card" }, el("dl", { class: "boxfacts" }, rows.flatMap(([key, value]) => [el("dt", { text: t(key) }), el("dd", { class: "whole" }, value)])));
}

export async function enter(host, session) {
  const id = pageArg(), [whole, found] = await Promise.all([api.oneCase(id), api.get(`/cases/${id}/trace`)]);
  host.replaceChildren(el("h1", { text: `${t("traceTitle")} · ${whole.number} · ${issueName(whole.issue)}` }), el("p", { id: "page-said", role: "status" }), el("p", {}, el("a", { href: address("review", { case: id }) }, t("toCase"))), el("div", { class: "figures", id: "trace" }, found.map((one) => way(one, session))));
}
