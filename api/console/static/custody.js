// What stands behind the evidence of a case: signatures, stamps, files; the sealed original, opened with a reason that is kept.
import * as api from "./api.js";
import { $, button, el } from "./dom.js";
import { day } from "./facts.js";
import { guarded } from "./shell.js";
import { original } from "./stage.js";
import { t } from "./strings.js";

let url = null;
function forget() { if (url) URL.revokeObjectURL(url); url = null; }

function words(found) {
  const here = found.files.filter((f) => f.here).length, gone = found.files.filter((f) => f.deleted_at), due = found.files.length - here - gone.length;
  const lines = [found.signed ? t("custodySigned").replace("{n}", found.signed).replace("{m}", found.stamped) : t("custodyUnsigned"), t("custodyFiles").replace("{n}", here)];
  if (due) lines.push(t("custodyDue").replace("{n}", due));
  if (gone.length) lines.push(t("custodyGone").replace("{n}", gone.length).replace("{day}", day(gone[0].deleted_at)).replace("{rule}", gone[0].rule ?? "–"));
  if (found.held) lines.push(`${t("custodyHeld")}: ${found.held}`);
  return [el("ul", {}, lines.map((text) => el("li", { text }))), ...found.faults.map((f) => el("p", { class: "alarm", text: `${t("custodyFault")}: ${f.fault}` }))];
}

// Resolves to the reason, or to null when the person went back.
function reason() {
  const dialog = $("unseal");
  $("unseal-why").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => { dialog.addEventListener("close", () => done(dialog.returnValue === "ok" ? $("unseal-why").value.trim() || null : null), { once: true }); });
}
async function open(whole, sha256) {
  const why = await reason();
  const blob = why && (await guarded(() => api.original(whole.id, sha256, why)));
  if (!blob) return;
  forget();
  url = URL.createObjectURL(blob);
  if (original(whole.id, url)) $("said").textContent = t("originalOpen");
}

export function clear() { forget(); $("custody").hidden = true; $("custody-body").replaceChildren(); }
export function show(whole, found, may) {
  const sealed = may("evidence.unseal") ? found.files.filter((f) => f.kind === "sealed" && f.here) : [];
  const acts = sealed.map((f) => button(t("openOriginal"), () => open(whole, f.sha256), { class: "take" }));
  if (may("export.read") && found.signed) acts.push(el("a", { class: "take", href: `/cases/${whole.id}/export.zip`, download: "", text: t("caseFile") }));
  $("custody-body").replaceChildren(...words(found), el("div", { class: "tools" }, acts));
  $("custody").hidden = false;
}
