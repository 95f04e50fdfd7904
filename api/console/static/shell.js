// The frame round the pages: address, connection, and who is signed in. The address holds the page and its filters: #/wall?issue=…
import * as api from "./api.js";
import { $ } from "./dom.js";
import { translated } from "./said.js";

let signedOut = () => {};
export const whenSignedOut = (act) => { signedOut = act; };
const parts = () => location.hash.replace(/^#\/?/, "").split("?");
export const pageName = () => parts()[0].split("/")[0] || "review";
export const pageArg = () => decodeURIComponent(parts()[0].split("/")[1] ?? "");
export const params = () => new URLSearchParams(parts()[1] ?? "");
export function address(page, wanted = {}, arg = "") {
  const found = new URLSearchParams(Object.entries(wanted).filter(([, v]) => v !== null && v !== undefined && v !== ""));
  return `#/${page}${arg ? `/${encodeURIComponent(arg)}` : ""}${String(found) ? `?${found}` : ""}`;
}
export function go(page, wanted = {}, arg = "") { location.hash = address(page, wanted, arg); }
export const online = (yes) => { $("offline").hidden = yes; };

// Runs `work`; a lost line shows the bar, an ended session the login, a refusal its own words.
export async function guarded(work, refused = () => {}) {
  try {
    const done = await work();
    online(true);
    return done;
  } catch (error) {
    if (error instanceof api.SignedOut) signedOut();
    else if (error instanceof api.Offline) online(false);
    else if (error instanceof api.Refused) {
      await refused(error);
      const place = $("review").hidden ? $("page-said") : $("said");
      if (place) place.textContent = translated(error.message);
    } else throw error;
    return undefined;
  }
}
