// The picture of a case: stills with zone and box drawn over them, the clip, the strip of the dwell.
import { fileUrl } from "./api.js";
import { issueName, t } from "./strings.js";

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const ORDER = ["confirm", "context", "first", "middle", "crop", "clip"];
const LABEL = { confirm: "confirmShot" };
const FRAME_S = 1 / 25;
let shown = null;

export function latest(whole) { return whole.alerts[whole.alerts.length - 1]; }

export function preload(whole) {
  for (const item of latest(whole).evidence) if (item.media_type.startsWith("image/")) new Image().src = fileUrl(item.sha256);
}

export function show(whole) {
  const alert = latest(whole);
  const items = ORDER.map((kind) => alert.evidence.find((e) => e.kind === kind)).filter(Boolean);
  const strip = $("strip");
  strip.replaceChildren(...items.map((item) => tile(item, alert)));
  strip.setAttribute("aria-label", t("strip"));
  const keep = shown && shown.id === whole.id && items.find((i) => i.kind === shown.kind);
  shown = { id: whole.id, kind: null };
  pick(keep || items[0], alert);
}

function tile(item, alert) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.kind = item.kind;
  if (item.media_type.startsWith("image/")) {
    const img = document.createElement("img");
    img.src = fileUrl(item.sha256);
    img.alt = "";
    button.append(img);
  } else {
    const sign = document.createElement("span");
    sign.className = "film";
    sign.textContent = "▶";
    sign.setAttribute("aria-hidden", "true");
    button.append(sign);
  }
  button.append(t(LABEL[item.kind] ?? item.kind));
  button.addEventListener("click", () => pick(item, alert));
  return button;
}

function pick(item, alert) {
  if (!item) { $("picture").removeAttribute("src"); $("overlay").replaceChildren(); return; }
  shown.kind = item.kind;
  const video = $("clip"), clip = item.media_type.startsWith("video/");
  $("picture").hidden = clip;
  video.hidden = !clip;
  $("clipbar").hidden = !clip;
  $("figure").style.setProperty("--ratio", `${item.width ?? alert.frame_width} / ${item.height ?? alert.frame_height}`);
  if (clip) {
    video.src = fileUrl(item.sha256);
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) video.play().catch(() => {});
  } else {
    video.pause();
    $("picture").src = fileUrl(item.sha256);
    $("picture").alt = `${t("picture")}: ${issueName(alert.issue)}, ${alert.camera_name || alert.camera_id}`;
  }
  $("overlay").replaceChildren();
  if (item.kind !== "crop" && item.kind !== "context") draw(alert);
  for (const b of $("strip").children) b.setAttribute("aria-pressed", String(b.dataset.kind === item.kind));
}

function draw(alert) {
  const zone = document.createElementNS(SVG, "polygon");
  zone.setAttribute("class", "zone");
  zone.setAttribute("points", alert.zone.polygon.map(([x, y]) => `${x * 1000},${y * 1000}`).join(" "));
  const [x1, y1, x2, y2] = alert.box.map((v) => v * 1000);
  const box = document.createElementNS(SVG, "rect");
  box.setAttribute("class", "subject");
  for (const [k, v] of Object.entries({ x: x1, y: y1, width: x2 - x1, height: y2 - y1 })) box.setAttribute(k, v);
  $("overlay").append(zone, box);
}

export function toggle() {
  const video = $("clip");
  if (video.hidden) { const b = $("strip").querySelector('[data-kind="clip"]'); if (b) b.click(); return; }
  if (video.paused) video.play().catch(() => {}); else video.pause();
}

export function frame(direction) {
  const video = $("clip");
  if (video.hidden) return;
  video.pause();
  video.currentTime = Math.max(0, Math.min(video.duration || 0, video.currentTime + direction * FRAME_S));
}

export function words() {
  $("scrub").setAttribute("aria-label", t("scrub"));
  $("speed").setAttribute("aria-label", t("speed"));
}

export function wire() {
  const video = $("clip"), scrub = $("scrub"), speed = $("speed");
  $("play").addEventListener("click", toggle);
  video.addEventListener("timeupdate", () => { if (video.duration) scrub.value = String((video.currentTime / video.duration) * 1000); });
  scrub.addEventListener("input", () => { video.pause(); if (video.duration) video.currentTime = (Number(scrub.value) / 1000) * video.duration; });
  speed.addEventListener("change", () => { video.playbackRate = Number(speed.value); });
}
