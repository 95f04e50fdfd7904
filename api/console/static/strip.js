// The dwell as one picture to take away: its timed pictures side by side with zone, box and time, and the box's words below.
import { fileUrl } from "./api.js";
import { $ } from "./dom.js";
import { dwell, when } from "./facts.js";
import { issueName } from "./strings.js";

const TIMED = ["first", "middle", "confirm"], WIDTH = 480, CAPTION = 46, GAP = 6, LINE = 18;
export const timed = (alert) => (alert?.evidence ?? []).filter((e) => TIMED.includes(e.kind)).sort((a, b) => (a.captured_at < b.captured_at ? -1 : 1));

async function loaded(item) {
  const image = new Image();
  image.src = fileUrl(item.sha256);
  await image.decode();
  return { item, image, height: Math.round((WIDTH * image.naturalHeight) / image.naturalWidth) };
}

function outline(paper, corners, x, height, colour) {
  paper.strokeStyle = colour;
  paper.beginPath();
  for (const [px, py] of corners) paper.lineTo(x + px * WIDTH, py * height);
  paper.closePath();
  paper.stroke();
}

// Pictures that are not at the centre yet are left out; null when there is none.
export async function stripOf(alert) {
  const panels = (await Promise.allSettled(timed(alert).map(loaded))).filter((p) => p.status === "fulfilled").map((p) => p.value);
  if (!panels.length) return null;
  const words = [...$("timeline").children].map((li) => li.textContent), top = Math.max(...panels.map((p) => p.height)) + CAPTION;
  const canvas = document.createElement("canvas");
  canvas.width = panels.length * (WIDTH + GAP) - GAP;
  canvas.height = top + (words.length ? words.length * LINE + 16 : 0);
  const paper = canvas.getContext("2d"), [x1, y1, x2, y2] = alert.box;
  paper.fillStyle = "#181818";
  paper.fillRect(0, 0, canvas.width, canvas.height);
  paper.lineWidth = 2;
  paper.font = "13px sans-serif";
  panels.forEach(({ item, image, height }, i) => {
    const x = i * (WIDTH + GAP), at = (new Date(item.captured_at) - new Date(alert.dwell.first_seen_at)) / 1000;
    paper.drawImage(image, x, 0, WIDTH, height);
    outline(paper, alert.zone.polygon, x, height, "#ffbf00");
    outline(paper, [[x1, y1], [x2, y1], [x2, y2], [x1, y2]], x, height, "#e5383b");
    paper.fillStyle = "#ebebeb";
    paper.fillText(`${when(item.captured_at)}  ${at >= 0 ? "+" : "−"}${dwell(Math.abs(at))}`, x + 8, height + 18, WIDTH - 16);
    paper.fillText(`${issueName(alert.issue)} · ${alert.zone.id} · ${alert.rule.name}`, x + 8, height + 37, WIDTH - 16);
  });
  words.forEach((line, i) => paper.fillText(line, 8, top + 14 + i * LINE, canvas.width - 16));
  return canvas;
}

export async function takeAway(alert, name) {
  const canvas = await stripOf(alert);
  const blob = canvas && (await new Promise((done) => { canvas.toBlob(done, "image/jpeg", 0.9); }));
  if (!blob) return false;
  const url = URL.createObjectURL(blob), link = document.createElement("a");
  link.href = url;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
  return true;
}
