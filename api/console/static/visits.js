// Cases at work: the looks at their places, before and after in one crop, and call-outs through the loudspeaker.
import * as api from "./api.js";
import { button, el } from "./dom.js";
import { when } from "./facts.js";
import { translated } from "./said.js";
import { address, guarded, pageArg } from "./shell.js";
import { issueName, language, t } from "./strings.js";

const AT_WORK = ["confirmed", "filed", "accepted", "dispatched", "handling", "extended", "suspended", "recheck", "rework", "closed"];
let session = null;

function picture(item, words) {
  return el("figure", {}, item ? el("img", { src: api.fileUrl(item.sha256), alt: words }) : el("p", { class: "dim", text: t("noShot") }), el("figcaption", { text: item ? `${words} · ${when(item.captured_at)}` : words }));
}
function look(one) {
  const head = el("p", {}, el("strong", { text: one.result ? t(`i_${one.result}`) : t(`i_${one.state}`) }), ` · ${t(`why_${one.why}`)} · ${when(one.asked_at)}`, one.advice ? ` · ${t("advice")}: ${t(`a_${one.advice}`)}` : "");
  return el("li", {}, head, one.state === "done" ? el("div", { class: "pair" }, picture(one.before, t("before")), picture(one.after, t("after"))) : null, one.reason ? el("p", { class: "dim", text: translated(one.reason) }) : null);
}
function called(one) { return el("li", { text: `${when(one.asked_at)} · ${one.message} · ${t(`o_${one.state}`)}${one.reason ? ` · ${translated(one.reason)}` : ""} · ${one.asked_by}` }); }

async function oneCase(host, id) {
  const [whole, looks, calls, messages] = await Promise.all([api.oneCase(id), api.get(`/cases/${id}/inspections`), api.get(`/cases/${id}/callouts`), api.get(`/cases/${id}/callouts/messages`)]);
  const said = el("p", { id: "page-said", role: "status", class: "said" }), again = () => oneCase(host, id), may = (right) => session.permissions.includes(right);
  const act = (path, body, word) => guarded(async () => { await api.post(path, body); await again(); host.querySelector("#page-said").textContent = t(word); });
  const asks = ["case.supervise", "case.dispatch", "case.handle"].some(may) ? button(t("lookAgain"), () => act(`/cases/${id}/inspections`, {}, "lookAsked"), { id: "look-again" }) : null;
  const speaks = may("callout") ? messages.map((m) => button(`${t("callOut")}: ${language() === "zh" ? m.zh : m.en}`, () => act(`/cases/${id}/callouts`, { message: m.message }, "callAsked"), { class: "take" })) : [];
  host.replaceChildren(el("h1", { text: `${whole.number} · ${issueName(whole.issue)}` }), said, el("p", {}, el("a", { href: address("visits") }, t("allAtWork")), ` · ${t(`s_${whole.state}`)} · ${whole.camera_name || whole.camera_id}`),
    el("section", { class: "card" }, el("h2", { text: t("looks") }), el("div", { class: "tools" }, asks), looks.length ? el("ul", { class: "looks" }, looks.map(look)) : el("p", { class: "dim", text: t("noLooks") })),
    el("section", { class: "card" }, el("h2", { text: t("callouts") }), el("div", { class: "tools" }, speaks), calls.length ? el("ul", { class: "looks" }, calls.map(called)) : el("p", { class: "dim", text: t("noCalls") })));
}

export async function enter(host, who) {
  session = who;
  const id = pageArg();
  if (id) { await oneCase(host, id); return; }
  const found = await api.get("/cases", { state: AT_WORK, limit: 100 });
  host.replaceChildren(el("h1", { text: t("p_visits") }), el("p", { id: "page-said", role: "status" }), found.items.length ? el("ul", { class: "camgrid" }, found.items.map((c) => el("li", {}, el("a", { href: address("visits", {}, c.id) }, el("strong", { text: `${c.number} · ${issueName(c.issue)}` }), el("small", { text: `${c.camera_name || c.camera_id} · ${when(c.opened_at, { timeStyle: "short" })}` }), el("span", { class: "dim", text: t(`s_${c.state}`) }))))) : el("p", { text: t("noneAtWork") }));
}
