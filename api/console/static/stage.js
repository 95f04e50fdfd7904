// The picture of a case: stills with overlays, the clip, the strip of the dwell on its clock, the loupe.
import { fileUrl, playableUrl } from "./api.js";
import * as boxes from "./boxes.js";
import { $, button, el, svg } from "./dom.js";
import { dwell } from "./facts.js";
import { translated } from "./said.js";
import { issueName, t } from "./strings.js";
import { takeAway, timed } from "./strip.js";

const ORDER = ["confirm", "context", "first", "middle", "crop", "clip"];
const SPEEDS = [0.5, 1, 2, 4];
const FRAME_S = 1 / 25; // until the clip has told its own
const FRONTAGE = new Set(["frontage"]), PERMIT = new Set(["parking_bay", "non_motor_parking", "loading", "permitted_vending", "terrace", "collection_point"]);
export const LAYERS = ["zone", "frontage", "permit", "box"];
const hidden = new Set();
let shown = null, zones = [];

export const latest = (whole) => whole.alerts[whole.alerts.length - 1] ?? null;
export const hiddenLayers = () => [...hidden];
export function hideLayers(names) { hidden.clear(); for (const n of names ?? []) hidden.add(n); }

// The pictures go into the browser's cache; a clip is held by an element of its own, as many as cases lie ahead.
const ahead = [], CLIPS_AHEAD = 3;
export function preload(whole) {
  for (const item of latest(whole)?.evidence ?? []) {
    if (item.media_type.startsWith("image/")) new Image().src = fileUrl(item.sha256);
    else if (item.kind === "clip") {
      const video = el("video", { preload: "auto", muted: true });
      video.src = fileUrl(item.sha256);
      ahead.push(video);
      while (ahead.length > CLIPS_AHEAD) ahead.shift().removeAttribute("src");
    }
  }
}

export function show(whole) {
  const alert = latest(whole), same = shown && shown.id === whole.id;
  if (!same || shown.alert?.id !== alert?.id) boxes.reset(); // a box is drawn on one picture, and fits no other
  const kind = same ? shown.kind : null;
  shown = { id: whole.id, number: whole.number, kind: null, alert, item: null };
  if (!same) { zones = []; $("overlay").setAttribute("aria-hidden", "true"); zoom(1); $("picture").removeAttribute("src"); } // a browser shows the old picture until it has the new one
  $("figure").hidden = !alert;
  const items = alert ? ORDER.map((k) => alert.evidence.find((e) => e.kind === k)).filter(Boolean) : [];
  const strip = $("strip");
  strip.replaceChildren(...items.map((item) => tile(item, alert)));
  strip.setAttribute("aria-label", t("strip"));
  timeline(alert, items);
  $("strip-picture").hidden = !timed(alert).length;
  if (alert) pick(items.find((i) => i.kind === kind) || items[0], alert);
}

function tile(item, alert) {
  const at = (new Date(item.captured_at) - new Date(alert.dwell.first_seen_at)) / 1000;
  const face = item.media_type.startsWith("image/") ? el("img", { src: fileUrl(item.sha256), alt: "" }) : el("span", { class: "film", "aria-hidden": "true", text: "▶" });
  return button([face, el("span", { text: t(`shot_${item.kind}`) }), el("small", { text: at >= 0 ? `+${dwell(at)}` : `−${dwell(-at)}` })], () => pick(item, alert), { "data-kind": item.kind, title: translated(item.note) || null });
}

// The dwell as a line: first seen, candidate, confirmed, with a mark for each picture.
function timeline(alert, items) {
  const box = $("dwellline");
  box.hidden = !alert;
  if (!alert) return;
  const d = alert.dwell, start = new Date(d.first_seen_at), span = Math.max(1, (new Date(d.confirmed_at) - start) / 1000);
  const x = (text) => 10 + 980 * Math.min(1, Math.max(0, (new Date(text) - start) / 1000 / span));
  const candidate = x(d.candidate_at);
  box.setAttribute("aria-label", `${t("first_seen")} → ${t("candidate")} ${dwell((new Date(d.candidate_at) - start) / 1000)} → ${t("confirmed_at")} ${dwell(span)}`);
  box.replaceChildren(
    svg("rect", { x: 10, y: 10, width: candidate - 10, height: 8, class: "line-watch" }), svg("rect", { x: candidate, y: 10, width: 990 - candidate, height: 8, class: "line-dwell" }),
    ...items.filter((i) => i.media_type.startsWith("image/") && i.kind !== "crop").map((i) => svg("circle", { cx: x(i.captured_at), cy: 14, r: 6, class: "line-shot", "data-kind": i.kind })),
  );
  const marks = [["first_seen", "start"], ["candidate", "middle"], ["confirmed_at", "end"]], at = candidate / 10;
  const times = { first_seen: 0, candidate: (new Date(d.candidate_at) - start) / 1000, confirmed_at: span };
  $("dwellmarks").replaceChildren(...marks.map(([key, where]) => el("span", { class: where, text: key === "first_seen" ? t(key) : `${t(key)} +${dwell(times[key])}` })));
  $("dwellmarks").children[1].style.left = `${Math.min(75, Math.max(16, at))}%`; // not as an attribute: the content policy forbids those
}

// Clips that this browser does not play (H.265): the centre makes a copy in H.264 when asked.
const converted = new Set();
function unplayable() {
  const item = shown?.item;
  if (!item?.media_type.startsWith("video/") || $("clip").hidden) return;
  // Given up, and forgotten: a clip may come later than its alert, and is tried anew when it is opened again.
  if (converted.delete(item.sha256)) { $("clip").removeAttribute("src"); $("clipnote").textContent = t("clipFails"); return; }
  converted.add(item.sha256);
  $("clipnote").textContent = t("clipConverts");
  $("clip").src = playableUrl(item.sha256);
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) $("clip").play().catch(() => {});
}

export function pick(item, alert = shown?.alert) {
  if (!item) { $("picture").removeAttribute("src"); $("overlay").replaceChildren(); return; }
  shown.kind = item.kind;
  shown.item = item;
  const video = $("clip"), clip = item.media_type.startsWith("video/");
  $("picture").hidden = clip;
  video.hidden = !clip;
  $("clipbar").hidden = !clip;
  $("figure").style.setProperty("--ratio", `${item.width ?? alert.frame_width} / ${item.height ?? alert.frame_height}`);
  $("figure").style.setProperty("--ratio-n", String((item.width ?? alert.frame_width) / (item.height ?? alert.frame_height)));
  if (clip) {
    const url = converted.has(item.sha256) ? playableUrl(item.sha256) : fileUrl(item.sha256);
    if (!video.src.endsWith(url)) { $("clipnote").textContent = ""; video.src = url; }
    video.playbackRate = Number($("speed").value);
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) video.play().catch(() => {});
  } else {
    video.pause();
    $("picture").src = fileUrl(item.sha256);
    askedAt = performance.now();
    $("picture").alt = `${t("picture")}: ${issueName(alert.issue)}, ${alert.camera_name || alert.camera_id}`;
  }
  draw();
  for (const b of $("strip").children) b.setAttribute("aria-pressed", String(b.dataset.kind === item.kind));
  for (const c of $("dwellline").querySelectorAll("circle")) c.classList.toggle("on", c.dataset.kind === item.kind);
}

// A picture that failed is complete too: it comes no more, and who judges sees that; one on a stalled line is not waited for without end.
const ARRIVE_MS = 10_000;
let askedAt = 0;
export const arriving = () => { const picture = $("picture"); return !picture.hidden && picture.hasAttribute("src") && !picture.complete && performance.now() - askedAt < ARRIVE_MS; };

// A sealed original that a person has opened; false when another case is on the screen by now.
export function original(id, url) {
  if (shown?.id !== id) return false;
  $("clip").pause();
  for (const [part, off] of [["picture", false], ["clip", true], ["clipbar", true]]) $(part).hidden = off;
  shown.kind = "original";
  $("picture").src = url;
  draw();
  for (const b of $("strip").children) b.setAttribute("aria-pressed", "false");
  return true;
}
export function pickKind(kind) { $("strip").querySelector(`[data-kind="${kind}"]`)?.click(); }

// Zones of the camera's saved setup: frontages and permits, which an alert does not carry.
export function setZones(found, id) { if (shown?.id === id) { zones = found; draw(); } }

const points = (polygon) => polygon.map(([x, y]) => `${x * 1000},${y * 1000}`).join(" ");
function draw() {
  const over = $("overlay"), alert = shown?.alert;
  if (boxes.dragging()) return;
  over.replaceChildren();
  if (!alert || shown.kind === "crop") return;
  const drawn = shown.kind === "context"; // the box has drawn its zone and the subject into this picture
  for (const zone of zones) {
    const layer = FRONTAGE.has(zone.kind) ? "frontage" : PERMIT.has(zone.kind) ? "permit" : null;
    if (layer && !hidden.has(layer)) over.append(svg("polygon", { class: layer, points: points(zone.polygon) }, svg("title", { text: `${zone.id} ${zone.holder ?? ""}` })));
  }
  if (drawn) return;
  if (!hidden.has("zone")) over.append(svg("polygon", { class: "zone", points: points(alert.zone.polygon) }));
  if (!hidden.has("box") || boxes.editing()) boxes.draw(over, alert.box);
}

export function editBox(on) { if (shown?.alert) { pickKind("confirm"); boxes.edit(on, draw); $("overlay").setAttribute("aria-hidden", String(!on)); draw(); } }

export function layers(host, changed) {
  host.replaceChildren(...LAYERS.map((name) => el("label", {}, el("input", { type: "checkbox", checked: !hidden.has(name), onchange: (e) => { if (e.target.checked) hidden.delete(name); else hidden.add(name); draw(); changed(); } }), el("span", { text: t(`layer_${name}`) }))));
}
// One key walks: all, box alone, nothing, all.
export function nextLayers() {
  const now = hidden.size === 0 ? ["zone", "frontage", "permit"] : hidden.size < LAYERS.length ? LAYERS : [];
  hideLayers(now);
  draw();
}

let factor = 1;
export function zoom(to) {
  factor = to;
  const figure = $("zoomed"), box = boxes.current() ?? shown?.alert?.box;
  figure.style.transform = factor === 1 ? "" : `scale(${factor})`;
  if (box) figure.style.transformOrigin = `${((box[0] + box[2]) / 2) * 100}% ${((box[1] + box[3]) / 2) * 100}%`;
  $("loupe").setAttribute("aria-pressed", String(factor > 1));
}
export function loupe() { zoom(factor === 1 ? 2 : factor === 2 ? 4 : 1); }

export function toggle() {
  const video = $("clip");
  if (video.hidden || !video.hasAttribute("src")) { pickKind("clip"); return; }
  aim = null;
  if (video.paused) video.play().catch(() => {}); else video.pause();
}
// The clip's own frame interval: the least time between two frames that came one after the other. Null until two have.
let frameS = null, seen = null;
// The middle of the frame that the last key asked for, until it is on the screen: a second key goes on from there.
let aim = null;
function learn(_, { presentedFrames: n, mediaTime: at }) {
  const step = seen && n === seen.n + 1 ? at - seen.at : 0;
  if (step > 0.004 && step < 2) frameS = Math.min(frameS ?? step, step);
  seen = { n, at };
  if (!$("clip").seeking) aim = null;
  $("clip").requestVideoFrameCallback(learn);
}
export function frame(direction) {
  const video = $("clip");
  if (video.hidden) { pickKind("clip"); video.pause(); return; }
  video.pause();
  // From the middle of one frame to the middle of the one beside it.
  const from = aim ?? (frameS && seen && !video.seeking ? seen.at + frameS * 0.5 : video.currentTime), step = frameS ?? FRAME_S;
  aim = Math.max(0, Math.min(video.duration || 0, from + direction * step));
  video.currentTime = aim;
}
export function speed(direction) {
  const box = $("speed"), at = SPEEDS.indexOf(Number(box.value)) + direction;
  if (at < 0 || at >= SPEEDS.length) return;
  box.value = String(SPEEDS[at]);
  $("clip").playbackRate = SPEEDS[at];
}
export function words() {
  $("scrub").setAttribute("aria-label", t("scrub"));
  $("speed").setAttribute("aria-label", t("speed"));
}
export function wire() {
  const video = $("clip"), scrub = $("scrub");
  $("speed").replaceChildren(...SPEEDS.map((s) => el("option", { value: s, selected: s === 1 }, `${s}×`)));
  $("play").addEventListener("click", toggle);
  video.addEventListener("error", unplayable);
  video.addEventListener("loadstart", () => { frameS = seen = aim = null; });
  video.addEventListener("seeking", () => { seen = null; }); // the frame on the screen is no longer where the clip stands
  video.requestVideoFrameCallback?.(learn);
  video.addEventListener("loadeddata", () => { $("clipnote").textContent = converted.has(shown?.item?.sha256) ? t("clipConverted") : ""; });
  $("loupe").addEventListener("click", loupe);
  $("strip-picture").addEventListener("click", async () => { if (shown?.alert && !(await takeAway(shown.alert, `${shown.number}.jpg`))) $("clipnote").textContent = t("stripNone"); });
  video.addEventListener("timeupdate", () => { if (video.duration) scrub.value = String((video.currentTime / video.duration) * 1000); });
  scrub.addEventListener("input", () => { video.pause(); aim = null; if (video.duration) video.currentTime = (Number(scrub.value) / 1000) * video.duration; });
  $("speed").addEventListener("change", () => { video.playbackRate = Number($("speed").value); });
  $("figure").addEventListener("wheel", (e) => {
    if (!e.ctrlKey) return; // a plain wheel scrolls the page
    e.preventDefault();
    zoom(Math.min(4, Math.max(1, factor * (e.deltaY < 0 ? 1.25 : 0.8))));
  }, { passive: false });
}
