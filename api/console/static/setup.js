// Camera setup for the engineer: what the box says, zones on the picture, weeks, ground plane, try, save as a version.
import * as api from "./api.js";
import { button, el, field, select } from "./dom.js";
import * as checks from "./checks.js";
import { make as canvas } from "./draw.js";
import { fixed, when } from "./facts.js";
import { make as ground, complete } from "./pairs.js";
import { spoken, translated } from "./said.js";
import { address, guarded, pageArg } from "./shell.js";
import { issueName, t } from "./strings.js";
import { week } from "./week.js";

const KINDS = ["no_parking", "no_dumping", "no_vending", "pavement", "frontage", "fire_lane", "tactile_path", "bus_stop", "moving_lane", "non_motor_parking", "parking_bay", "loading", "permitted_vending", "terrace", "collection_point", "bin", "privacy_mask"];
let model = null, parts = {}, pane = null, plane = null, camera = null, session = null, visit = 0;

const say = (text) => { parts.said.textContent = text; };
export const draft = () => ({ zones: model.zones.map((z) => ({ ...z, holder: z.holder ?? "" })), ...(complete(model.pairs).length >= 4 ? { ground: { pairs: complete(model.pairs) } } : {}) });

function changed(text = null) {
  pane.draw();
  zoneList();
  zoneForm();
  plane.draw();
  if (text) say(text);
}
function zoneList() {
  parts.zones.replaceChildren(...model.zones.map((z, i) => el("li", {}, button(`${z.id} · ${t(`z_${z.kind}`)} · ${t(z.street_class)}${z.schedule?.length ? ` · ${t("zoneTimes").replace("{n}", z.schedule.length)}` : ""}`, () => { model.chosen = i; changed(); }, { "aria-pressed": String(i === model.chosen) }))));
  if (!model.zones.length && !model.draft) parts.zones.replaceChildren(el("li", { class: "dim", text: t("noZones") }));
  parts.finish.hidden = !model.draft;
}
function zoneForm() {
  const z = model.zones[model.chosen];
  parts.form.replaceChildren();
  if (!z) return;
  const text = (key, word, pattern) => field(t(word), el("input", { value: z[key] ?? "", maxlength: 64, pattern, name: key, onchange: (e) => { if (e.target.checkValidity() && (e.target.value || key === "holder")) { z[key] = e.target.value; changed(); } else e.target.reportValidity(); } }));
  parts.form.append(el("div", { class: "filters" }, text("id", "zoneId", "[A-Za-z0-9][A-Za-z0-9._\\-]{0,63}"), field(t("zoneKind"), select(KINDS.map((k) => [k, t(`z_${k}`)]), z.kind, (k) => { z.kind = k; changed(); })), field(t("street"), select(["prohibit", "control", "regulate"].map((c) => [c, t(c)]), z.street_class, (c) => { z.street_class = c; changed(); })), text("holder", "holder"),
    button(t("remove"), () => { model.zones.splice(model.chosen, 1); model.chosen = -1; changed(); }, { class: "no" })), week(z, () => changed()));
}
function begin() { model.draft = []; model.chosen = -1; model.pairing = null; changed(t("drawing")); pane.focus(); }
function finish() {
  if ((model.draft?.length ?? 0) < 3) { say(t("drawing")); return; }
  let n = model.zones.length + 1;
  while (model.zones.some((z) => z.id === `zone-${n}`)) n += 1;
  model.zones.push({ id: `zone-${n}`, kind: "no_parking", street_class: "control", polygon: model.draft, schedule: [], holder: "" });
  model.draft = null;
  model.chosen = model.zones.length - 1;
  changed("");
}
// The box judges its own record with the draft; beside it stands what the centre knows, the alerts that came.
async function run(hours) {
  const draftNow = { setup: draft(), hours }, stored = await guarded(() => api.trySetup(camera.id, draftNow));
  if (!stored) return;
  const known = el("details", {}, el("summary", { text: stored.seen ? t("trySaid").replace("{seen}", stored.seen).replace("{hours}", stored.hours).replace("{raised}", stored.raised) : t("tryNone") }), el("p", { class: "dim", text: t("tryHonest") }),
    el("ul", {}, stored.tried.slice(0, 12).map((x) => el("li", { text: `${when(x.at)} · ${issueName(x.issue)} · ${t(`t_${x.outcome}`)}${x.zone ? ` · ${x.zone}` : ""}` }))));
  const boxSays = el("div", { id: "trial" });
  parts.tried.replaceChildren(boxSays, known);
  model.seen = stored.tried.filter((x) => x.outcome === "raised").map((x) => x.box);
  pane.draw();
  if (!may()) return;
  const found = await question({ kind: "trial", ...draftNow, hours: Math.min(24, hours) }, boxSays);
  if (!found) return;
  boxSays.replaceChildren(...checks.tried(found));
  if (found.ok) { model.seen = found.cases.map((c) => c.box); pane.draw(); }
}
const may = () => session.permissions.includes("device.manage");
function question(asked, place) {
  const mine = visit, waiting = el("p", { class: "dim", text: t("checkWaits") });
  place.replaceChildren(waiting);
  return checks.ask(camera.id, asked, () => mine !== visit, () => {}).then((found) => { if (!found) waiting.remove(); return found; });
}
async function probe() { const found = await question({ kind: "probe" }, parts.probed); if (found) parts.probed.replaceChildren(...checks.probed(found)); }
async function shoot() {
  const found = await question({ kind: "snapshot" }, parts.shot);
  if (!found) return;
  if (found.has_picture) { pane.picture(`/cameras/${camera.id}/checks/${found.id}/picture`); parts.shot.replaceChildren(el("p", { class: "dim", text: `${t("shotOf")} ${when(found.answered_at)}` })); } else parts.shot.replaceChildren(checks.failed(found));
}
function take(view, setup) {
  Object.assign(model, { version: view.version, zones: structuredClone(setup.zones), pairs: structuredClone(setup.ground?.pairs ?? []), chosen: -1, draft: null, pairing: null, seen: [] });
  for (const z of model.zones) for (const w of z.schedule ?? []) { w.begin = (w.begin ?? "00:00").slice(0, 5); w.end = (w.end ?? "00:00").slice(0, 5); for (const key of ["valid_from", "valid_to"]) if (w[key] === null) delete w[key]; }
}
function versions(view) {
  parts.versions.replaceChildren(...view.versions.map((v) => el("li", {}, `${t("versionN").replace("{n}", v.version)} · ${when(v.saved_at)} · ${v.saved_by} · ${v.zones} ${t("zones")}${v.note ? ` · ${v.note}` : ""} `, button(t("load"), () => guarded(async () => { take({ version: model.version }, await api.setupAt(camera.id, v.version)); changed(t("loaded").replace("{n}", v.version)); }), { class: "take", "aria-label": `${t("load")} ${v.version}` }))));
}
async function keep() {
  const note = parts.note.value;
  const view = await guarded(() => api.saveSetup(camera.id, { setup: draft(), note }, model.version), async (error) => { if (error.status === 412) model.version = Number(/version (\d+)/.exec(error.message)?.[1] ?? model.version); });
  if (!view) { if (parts.said.textContent.includes("version")) say(`${parts.said.textContent}. ${t("stale")}`); return; }
  model.version = view.version;
  versions(view);
  told(view);
  await follow(view);
}
// Which version was saved, and what the box has made of it.
const told = (view) => say(`${t("saved").replace("{n}", view.version)} ${t(`b_${view.box.state}`).replace("{n}", view.box.version)}${view.box.reason ? `: ${translated(view.box.reason)}` : ""}`);
const FOLLOW_MS = 2000, FOLLOWED = 90;
async function follow(saved) {
  const mine = visit;
  let view = saved;
  for (let i = 0; i < FOLLOWED && ["waiting", "trial"].includes(view.box.state); i += 1) {
    await new Promise((go) => { setTimeout(go, FOLLOW_MS); });
    if (mine !== visit || model.version !== saved.version) return;
    const next = await guarded(() => api.setup(camera.id));
    if (!next || mine !== visit || model.version !== saved.version || next.version !== saved.version) return;
    if (next.box.state !== view.box.state) told(next);
    view = next;
  }
}

function box(holds) {
  const h = camera.health, rows = [[t("state"), [t(`c_${camera.state}`), spoken(camera)].filter(Boolean).join(" · ")], [t("configuration"), t(`b_${holds.state}`).replace("{n}", holds.version)]];
  if (h) rows.push([t("lastFrame"), h.last_frame_at ? when(h.last_frame_at) : "–"], [t("decoded"), String(h.frames_decoded)], [t("tainted"), `${(100 * h.tainted_ratio).toFixed(1)} %`], [t("skew"), fixed(h.clock_skew_s, 2, "s")], [t("camera"), t(`v_${h.view}`)]);
  return el("section", { class: "card" }, el("h2", { text: t("whatBoxSays") }), el("dl", { class: "boxfacts" }, rows.flatMap(([k, v]) => [el("dt", { text: k }), el("dd", { text: v })])), may() ? el("div", { class: "tools" }, button(t("probeNow"), probe, { id: "probe-now" })) : el("p", { class: "dim", text: t("onlyAdmin") }), parts.probed, el("details", {}, el("summary", { text: t("probe") }), el("p", { class: "dim", text: t("probeHelp") }), el("pre", { tabindex: "0", "aria-label": t("probe") }, el("code", { text: "curbwatch camera probe rtsp://user:password@camera/path" }))));
}
function background(pictures) {
  const show = (i) => { const p = pictures[i]; if (p) pane.picture(api.fileUrl(p.sha256), p.width, p.height); };
  const own = el("input", { type: "file", accept: "image/*", onchange: (e) => { const file = e.target.files[0]; if (file) pane.picture(URL.createObjectURL(file)); } });
  if (pictures.length) show(0);
  const choose = pictures.length ? field(t("background"), select(pictures.map((p, i) => [i, `${t(`shot_${p.kind}`)} · ${when(p.captured_at)}`]), 0, (i) => show(Number(i)))) : el("p", { class: "dim", text: t("noPicture") });
  return el("div", {}, el("div", { class: "filters" }, choose, el("label", { class: "file" }, own, el("span", { text: t("ownPicture") })), may() ? button(t("shootNow"), shoot, { id: "shoot-now" }) : null), parts.shot);
}

async function overview(host) {
  const found = await api.get("/cameras");
  host.replaceChildren(el("h1", { text: t("setupTitle") }), el("p", { id: "page-said", role: "status" }), found.length ? el("ul", { class: "camgrid" }, found.map((c) => el("li", {}, el("a", { href: address("setup", {}, c.id) }, el("strong", { text: c.name || c.id }), el("small", { text: `${c.id} · ${c.device_id}` }), el("span", { class: "dim", text: `${t(`c_${c.state}`)}${c.health ? ` · ${t(`v_${c.health.view}`)}` : ""}` }))))) : el("p", { text: t("noCameras") }));
}

export async function enter(host, who, left) {
  leave();
  session = who;
  const id = pageArg();
  if (!id) { await overview(host); return; }
  const [all, view, pictures] = await Promise.all([api.get("/cameras"), api.setup(id), api.get(`/cameras/${id}/pictures`)]);
  if (left.aborted) return; // a late answer must not put its camera under the zones of another
  camera = all.find((c) => c.id === id);
  model = {};
  take(view, view.setup);
  parts = { said: el("p", { id: "page-said", role: "status", class: "said" }), zones: el("ul", { class: "zonelist" }), form: el("div", { id: "zone-form" }), finish: button(t("finish"), finish, { class: "go", hidden: true, id: "finish-zone" }), tried: el("div", { id: "tried", role: "status" }), probed: el("div", { id: "probed", role: "status" }), shot: el("div", { id: "shot", role: "status" }), versions: el("ul", { class: "versions" }), note: el("input", { maxlength: 300, name: "note" }) };
  pane = canvas(model, { pick: (i) => { model.chosen = i; changed(); }, corner: (at) => { model.draft.push(at); pane.draw(); }, point: (at) => { model.pairs[model.pairing].picture = at; changed(); }, changed: () => changed() });
  plane = ground(model, camera, changed);
  const hours = el("input", { type: "number", min: "1", max: "168", value: "1", name: "hours" });
  const trying = el("section", { class: "card" }, el("h2", { text: t("tryTitle") }), el("div", { class: "filters" }, field(t("tryHours"), hours), button(t("tryRun"), () => run(Number(hours.value) || 1), { id: "try-run" })), parts.tried);
  const saving = el("section", { class: "card" }, el("h2", { text: t("saveTitle") }), may() ? el("div", { class: "filters" }, field(t("note"), parts.note), button(t("saveVersion"), keep, { class: "go", id: "save-version" })) : el("p", { text: t("onlyAdmin") }), el("h3", { text: t("versions") }), view.versions.length ? null : el("p", { class: "dim", text: t("noVersion") }), parts.versions);
  host.replaceChildren(el("h1", { text: `${camera.name || camera.id}` }), parts.said, el("div", { class: "setup" },
    el("div", {}, el("section", { class: "card" }, background(pictures), pane.host, el("div", { class: "tools" }, button(t("newZone"), begin, { id: "new-zone" }), parts.finish)), plane.host),
    el("div", {}, el("section", { class: "card" }, el("h2", { text: t("zonesTitle") }), parts.zones, parts.form), trying, saving, box(view.box))));
  plane.start();
  versions(view);
  changed();
}
export function leave() { visit += 1; plane?.gone(); plane = null; }
