// Entry: sign-in, language, the pages, the live feed.
import "/static/leaflet/leaflet.js";
import * as api from "./api.js";
import { $, el } from "./dom.js";
import { setZone } from "./facts.js";
import { translated } from "./said.js";
import { apply, language, setLanguage, t } from "./strings.js";

const { configure } = await import("./base.js");
const shell = await import("./shell.js");
const review = await import("./review.js");
const leases = await import("./leases.js");
const sheet = await import("./sheet.js");

const NEWS = ["hello", "case.opened", "case.joined", "case.reopened", "case.judged", "case.moved", "case.split", "verdict.undone", "alert.opened", "alert.updated", "alert.cleared", "camera.view"];
// Each page is loaded when it is first opened; `may` is the permission that its data needs.
const PAGES = {
  review: { may: "case.review" }, labels: { may: "case.review", load: () => import("./labels.js") }, wall: { may: "case.read", load: () => import("./wall.js") }, setup: { may: "camera.read", load: () => import("./setup.js") },
  visits: { may: "case.read", load: () => import("./visits.js") },
  fleet: { may: "audit.read", load: () => import("./fleet.js") },
  rollouts: { may: "audit.read", load: () => import("./rollouts.js") },
  trace: { may: "case.read", load: () => import("./trace.js"), quiet: true }, // reached from a case, not from the menu
  stats: { may: "stats.read", load: () => import("./stats.js") }, quality: { may: "stats.read", load: () => import("./quality.js") }, start: { may: "case.read", load: () => import("./start.js") },
};
const RETRY_MS = 3000;
let session = null, feed = null, now = null, soon = null;

const allowed = (name) => name in PAGES && session.permissions.includes(PAGES[name].may);

function menu() {
  $("pages").setAttribute("aria-label", t("pages"));
  $("pages").replaceChildren(...Object.keys(PAGES).filter((name) => allowed(name) && !PAGES[name].quiet).map((name) => el("a", { href: `#/${name}`, "aria-current": name === now?.name ? "page" : null, text: t(`p_${name}`) })));
}

// Each visit of a page has a place of its own to draw in and a signal that tells when it was left: an answer that comes
// after that is drawn nowhere, and starts nothing.
async function open() {
  if (!session) return;
  $("still-in").hidden = true;
  const asked = shell.pageName(), name = allowed(asked) ? asked : Object.keys(PAGES).find(allowed);
  const before = now, visit = new AbortController(), mine = { name, page: null, entered: false, hash: location.hash, visit }, host = el("div", { class: "visit" });
  now = mine;
  before?.visit.abort();
  before?.page?.leave?.();
  const left = before?.name === "review" && name !== "review" ? review.leave() : null;
  menu();
  $("review").hidden = name !== "review";
  $("help").hidden = name !== "review";
  $("page").hidden = name === "review";
  if (name === "review") { await review.enter(session, visit.signal); mine.entered = true; return; }
  $("page").replaceChildren(host);
  $("page").setAttribute("aria-busy", "true");
  mine.entered = await shell.guarded(async () => {
    await left; // the next page counts the cases that this person no longer holds
    const page = await PAGES[name].load().catch(() => { throw new api.Offline(); });
    if (now !== mine) return false;
    mine.page = page;
    await page.enter(host, session, visit.signal);
    return true;
  });
  if (now === mine) $("page").removeAttribute("aria-busy");
}

// The address is ahead of the page until the browser gets round to its hashchange. A key or a click in between is
// meant for the page of the address, so that page is entered first.
function follow() { if (session && location.hash !== now?.hash) open(); }

// A browser tries a broken feed again by itself, but not one that was answered with a refusal: of a session that has ended,
// or of a proxy whose centre is away.
async function closed() {
  if (!session) return;
  shell.online(false);
  if (feed.readyState !== EventSource.CLOSED) return;
  const mine = feed;
  try { await api.me(); } catch (error) { if (error instanceof api.SignedOut) { leave(); return; } }
  setTimeout(() => { if (session && feed === mine) listen(); }, RETRY_MS);
}

function listen() {
  feed?.close();
  feed = new EventSource("/events");
  feed.onopen = () => { shell.online(true); if (now?.name === "review") review.refresh(); else if (now?.entered === undefined) open(); };
  feed.onerror = closed;
  for (const kind of NEWS) feed.addEventListener(kind, (message) => {
    const event = { kind, ...JSON.parse(message.data || "{}") };
    now?.page?.news?.(event);
    if (now?.name !== "review" || !event.case_id) return;
    // Many boxes speak at once; what is on the screen is answered at once, the list a moment later.
    if (leases.held.some((h) => h.whole.id === event.case_id)) review.news(event);
    else { clearTimeout(soon); soon = setTimeout(() => review.news(event), 150); }
  });
}

// The page begins anew with the sign-in: what its parts remember is one person's, and the next may be of another tenant.
function leave() {
  if (!session) return;
  session = null;
  feed?.close();
  now?.visit.abort();
  for (const id of ["review", "page", "logout", "help", "pages"]) $(id).hidden = true;
  location.reload();
}

// On a cut line the session goes on: who believed to be signed out would leave the page to the next person.
async function logout() {
  // A case on its way goes back while there is a session to give it back with; an answer that never comes keeps nobody signed in.
  await Promise.race([review.leave().then(leases.over), new Promise((done) => { setTimeout(done, 3000); })]);
  if (await shell.guarded(async () => { await api.logout(); return true; })) { leave(); return; }
  if (!session) return;
  if (now.name === "review") open();
  $("still-in").hidden = false;
}

function signIn() {
  $("login").hidden = false;
  $("login-form").elements.username.focus();
  // Only a centre with a provider of its own has this way in; without an answer the password is the way that stays.
  api.ways().then((ways) => { $("city-login").hidden = !ways.oidc; }, () => {});
}

async function enter(found) {
  session = found;
  setZone(session.timezone);
  configure(session);
  for (const id of ["logout", "pages"]) $(id).hidden = false;
  $("login").hidden = true;
  listen();
  await open();
}

function words() {
  apply();
  $("lang").textContent = t("lang");
  $("lang").lang = language() === "zh" ? "en" : "zh-CN";
  if (!session) return;
  menu();
  if (now?.name === "review") review.words(); else open();
}

$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target.elements;
  $("login-error").textContent = "";
  try {
    const found = await api.login(form.username.value, form.password.value);
    form.password.value = "";
    await enter(found);
  } catch (error) {
    $("login-error").textContent = error instanceof api.Offline ? t("offline") : error instanceof api.Refused ? translated(error.message) : t("wrong");
  }
});
$("help").addEventListener("click", () => document.dispatchEvent(new CustomEvent("sheet")));
$("logout").addEventListener("click", logout);
$("lang").addEventListener("click", () => { setLanguage(language() === "zh" ? "en" : "zh"); words(); });
for (const kind of ["hashchange", "keydown", "pointerdown"]) addEventListener(kind, follow, true);
addEventListener("pageshow", (event) => { if (event.persisted) open(); });
// Not by the address, which names the page.
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); (!session ? $("login-form").elements.username : $(now?.name === "review" ? "verdict" : "page")).focus(); });
shell.whenSignedOut(leave);
review.wire();
sheet.wire();

words();
try { await enter(await api.me()); } catch (error) { if (error instanceof api.Offline) shell.online(false); signIn(); }
