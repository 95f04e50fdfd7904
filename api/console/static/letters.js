// Dead letters: events that a city's webhook did not take after all tries, and the way to send each again.
import * as api from "./api.js";
import { button, el } from "./dom.js";
import { guarded } from "./shell.js";
import { t } from "./strings.js";

export async function letters() {
  const section = el("section", { class: "card", id: "letters" }, el("h2", { text: t("letters") }));
  const place = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("letters") });
  section.append(place);
  const fill = async () => {
    const dead = (await Promise.all((await api.hooks()).map(async (hook) => (await api.deadLetters(hook.id)).map((letter) => ({ hook, letter }))))).flat();
    if (!dead.length) { place.replaceChildren(el("p", { text: t("noLetters") })); return; }
    const send = ({ hook, letter }) => guarded(async () => { await api.sendAgain(hook.id, letter.id); await fill(); section.closest(".visit").querySelector("#page-said").textContent = t("sentAgain"); });
    const head = [t("hookTo"), t("event"), t("tries"), t("lastError"), t("again")].map((text) => el("th", { scope: "col", text }));
    const row = (one) => el("tr", {}, [one.hook.url, one.letter.type, one.letter.tries, one.letter.error].map((text) => el("td", { text })), // A stopped webhook is sent nothing.
      el("td", {}, one.hook.active ? button(t("again"), () => send(one)) : null));
    place.replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, dead.map(row))));
  };
  await fill();
  return section;
}
