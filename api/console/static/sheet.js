// The sheet of keys; each key can be changed on it.
import { $, button, el } from "./dom.js";
import * as keys from "./keys.js";
import { t } from "./strings.js";

let asking = null, keep = () => {};

function draw() {
  $("sheet-keys").replaceChildren(...Object.keys(keys.DEFAULTS).flatMap((action) => {
    const label = asking === action ? "…" : keys.shown(keys.keyOf(action));
    const change = button([el("kbd", { text: label })], () => { asking = action; $("sheet-said").textContent = t("pressKey").replace("{action}", t(`k_${action}`)); draw(); $("sheet-keys").querySelector(`[data-change="${action}"]`)?.focus(); }, { "data-change": action, class: "key", "aria-label": `${t(`k_${action}`)}: ${keys.shown(keys.keyOf(action))}. ${t("change")}` });
    return [el("dt", {}, change), el("dd", { text: t(`k_${action}`) })];
  }));
}

function onKey(event) {
  if (asking === null || keys.foreign(event)) return;
  event.preventDefault();
  event.stopPropagation();
  const action = asking;
  asking = null;
  if (event.key === "Escape") { $("sheet-said").textContent = t("keysHelp"); draw(); return; }
  const why = keys.change(action, event.key);
  $("sheet-said").textContent = why === null ? t("keyKept") : why === "fixed" ? t("keyFixed") : t("keyTaken").replace("{action}", t(`k_${why}`));
  if (why === null) { keep(); }
  draw();
  $("sheet-keys").querySelector(`[data-change="${action}"]`)?.focus();
}

export function sheet(save) {
  keep = save;
  asking = null;
  $("sheet-said").textContent = t("keysHelp");
  draw();
  if (!$("sheet").open) $("sheet").showModal();
}
export function wire() {
  $("sheet").addEventListener("keydown", onKey);
  $("sheet-close").addEventListener("click", () => $("sheet").close());
  $("sheet-default").addEventListener("click", () => { keys.use({}); keep(); draw(); });
}
