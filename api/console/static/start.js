// What an empty centre needs next: each step with its command, ticked when it is done.
import * as api from "./api.js";
import { el } from "./dom.js";
import { t } from "./strings.js";

const JSON_BODY = "-H 'Content-Type: application/json'";
const AREAS = `curl -c jar ${JSON_BODY} -d '{"username": "NAME", "password": "PASSWORD"}' https://CENTRE/session
curl -b jar ${JSON_BODY} -X PUT --data @grid.geojson https://CENTRE/geo/grid`;
const STEPS = [
  ["box", (s) => s.boxes > 0, "curbwatch api device add box-1 --data DATA"], ["alive", (s) => s.boxes_alive > 0, "curbwatch edge run box.yaml"],
  ["live", (s) => s.cameras_live > 0, "curbwatch camera probe rtsp://user:password@camera/path"], ["drawn", (s) => s.cameras_drawn > 0, null],
  ["areas", (s) => s.areas > 0, AREAS], ["people", (s) => s.reviewers > 0, "curbwatch api user add wang --role reviewer --data DATA"],
  ["case", (s) => s.cases > 0, "make demo"], ["verdict", (s) => s.verdicts > 0, null],
];

function steps(found) {
  return el("ol", { class: "steps" }, STEPS.map(([key, isDone, command]) => {
    const done = isDone(found);
    return el("li", { class: done ? "done" : "todo" },
      el("strong", { text: t(`st_${key}`) }), el("span", { class: "mark", text: t(done ? "done" : "open") }),
      done ? null : el("p", { text: t(`st_${key}How`) }), done || !command ? null : el("pre", { tabindex: "0", "aria-label": t(`st_${key}`) }, el("code", { text: command })));
  }));
}

export async function firstSteps(host) {
  host.replaceChildren(el("h1", { text: t("startEmpty") }), el("p", { text: t("startHint") }));
  const found = await api.get("/start").catch(() => null);
  if (found && (found.cases === 0 || found.cameras_live === 0)) host.append(steps(found));
}
export async function enter(host) {
  const found = await api.get("/start");
  host.replaceChildren(el("h1", { text: t("startTitle") }), steps(found), el("p", { text: t("cityTime").replace("{zone}", found.timezone) }), el("p", { id: "page-said", role: "status" }));
}
