// One verdict for several cases that look alike: same class, same camera, same day. People see each picture first.
import * as api from "./api.js";
import { $, el } from "./dom.js";
import { dwell, when } from "./facts.js";
import { guarded } from "./shell.js";
import { t } from "./strings.js";

function item(c, first) {
  const picture = c.picture ? el("img", { src: api.fileUrl(c.picture), alt: "" }) : el("span", { class: "film", text: "–" });
  const box = el("input", { type: "checkbox", checked: true, value: c.id, "data-version": c.version, disabled: false });
  return el("label", { class: first ? "one first" : "one" }, picture, el("span", {}, box, ` ${c.number}`), el("small", { text: `${when(c.opened_at, { timeStyle: "short" })} · ${dwell(c.dwell_s)}` }));
}

// Resolves to what was judged by `send`, or null when the person went back, or on to another case (`there` is false) before the cluster came.
export async function openBatch(whole, there, send) {
  const found = await guarded(() => api.cluster(whole.id));
  if (!found || !there()) return null;
  const dialog = $("batch");
  $("batch-said").textContent = found.length > 1 ? t("batchHelp").replace("{n}", found.length) : t("batchAlone");
  $("batch-items").replaceChildren(...found.map((c, i) => item(c, i === 0)));
  $("batch-reason").replaceChildren(...[1, 2, 3, 4, 5, 6, 7, 8].map((n) => el("option", { value: n }, t(`r${n}`))));
  for (const id of ["batch-confirm", "batch-reject"]) $(id).disabled = found.length < 2;
  dialog.showModal();
  $("batch-close").focus();
  return new Promise((resolve) => {
    let sent = null;
    const judge = async (verdict) => {
      const cases = [...$("batch-items").querySelectorAll("input:checked")].map((b) => ({ id: b.value, version: Number(b.dataset.version) }));
      if (!cases.length || sent) return;
      sent = guarded(() => send(cases, verdict));
      try { await sent; } catch (error) { sent = null; throw error; }
      dialog.close();
    };
    $("batch-confirm").onclick = () => judge({ kind: "confirm" });
    $("batch-reject").onclick = () => judge({ kind: "reject", reason: Number($("batch-reason").value) });
    $("batch-close").onclick = () => dialog.close();
    // Closed while the verdicts are on their way: they are given all the same, and can be taken back.
    dialog.addEventListener("close", async () => resolve((await sent) ?? null), { once: true });
  });
}
