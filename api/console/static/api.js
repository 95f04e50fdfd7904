// The centre's REST surface. A lost connection throws Offline, an expired session SignedOut, a refusal Refused.
export class Offline extends Error {}
export class SignedOut extends Error {}
export class Refused extends Error { constructor(status, message) { super(message); this.status = status; } }

async function ask(method, path, body, headers = {}, more = {}) {
  let answer;
  try {
    answer = await fetch(path, { method, headers: { ...(body ? { "Content-Type": "application/json" } : {}), ...headers }, body: body ? JSON.stringify(body) : undefined, ...more });
  } catch { throw new Offline(); }
  if (answer.status === 401) throw new SignedOut();
  if (answer.status >= 500) throw new Offline();
  const data = answer.status === 204 ? null : await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, typeof data?.detail === "string" ? data.detail : String(answer.status));
  return { data, headers: answer.headers };
}
// A file that a change hands out, such as an original that was opened.
export async function original(id, sha256, reason) {
  let answer;
  try { answer = await fetch(`/cases/${id}/original`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ sha256, reason }) }); } catch { throw new Offline(); }
  if (answer.status === 401) throw new SignedOut();
  if (!answer.ok) throw new Refused(answer.status, (await answer.json().catch(() => ({}))).detail ?? String(answer.status));
  return answer.blob();
}
const call = async (...given) => (await ask(...given)).data;
const query = (params) => {
  const found = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) for (const v of [value].flat()) if (v !== null && v !== undefined && v !== "") found.append(key, v);
  return String(found);
};
export const get = (path, params = {}) => { const q = query(params); return call("GET", q ? `${path}?${q}` : path); };
export const post = (path, told) => call("POST", path, told);
export const put = (path, told) => call("PUT", path, told);
export const fileUrl = (sha256) => `/evidence/${sha256}`;
export const playableUrl = (sha256) => `/evidence/${sha256}/playable`;

export const login = (username, password) => call("POST", "/session", { username, password });
export const ways = () => call("GET", "/session/ways");
export const logout = () => call("DELETE", "/session", undefined, {}, { signal: AbortSignal.timeout(10_000) });
export const me = () => call("GET", "/session");
export const preferences = () => call("GET", "/session/preferences");
export const keep = (told) => call("PUT", "/session/preferences", told);

export async function next(exclude, filters) {
  const { data, headers } = await ask("GET", `/queue/next?${query({ exclude, readings: true, ...filters })}`);
  return data === null ? null : { whole: data, reading: headers.get("Reading-Id") };
}
export const waiting = (filters) => get("/queue/waiting", filters);
export const passOver = (id) => call("DELETE", `/labels/${id}`);
export const counts = () => call("GET", "/queue");
export const hold = (cases) => call("POST", "/queue/leases", { cases });
export const release = (cases, last = false) => call("DELETE", `/queue/leases${cases ? `?${query({ case: cases })}` : ""}`, undefined, {}, last ? { keepalive: true } : {});
export const oneCase = (id) => call("GET", `/cases/${id}`);
export const place = (id) => call("GET", `/cases/${id}/place`);
export const suggestions = (id) => call("GET", `/cases/${id}/suggestions`);
export const cluster = (id) => call("GET", `/cases/${id}/cluster`);
export const viewed = (id) => call("POST", `/cases/${id}/views`);
export const defer = (id, minutes) => call("POST", `/cases/${id}/defer`, { minutes });
export const batch = (of, cases, verdict) => call("POST", "/queue/batch", { of, cases, verdict });
export async function verdict(id, said, version) {
  const { data, headers } = await ask("POST", `/cases/${id}/verdicts`, said, { "If-Match": `"${version}"` });
  return { whole: data, verdict: headers.get("Verdict-Id") };
}
export const undo = (id, verdictId) => call("DELETE", `/cases/${id}/verdicts/${verdictId}`);
export const read = (id, said) => call("POST", `/readings/${id}`, said);
export const unread = (id) => call("DELETE", `/readings/${id}`);
export const setup = (camera) => call("GET", `/cameras/${camera}/setup`);
export const setupAt = (camera, version) => call("GET", `/cameras/${camera}/setup/${version}`);
export const saveSetup = (camera, told, version) => call("PUT", `/cameras/${camera}/setup`, told, { "If-Match": `"${version}"` });
export const trySetup = (camera, told) => call("POST", `/cameras/${camera}/setup/try`, told);
export const hooks = () => call("GET", "/hooks");
export const deadLetters = (hook) => get(`/hooks/${hook}/deliveries`, { state: "dead" });
export const sendAgain = (hook, delivery) => call("POST", `/hooks/${hook}/deliveries/${delivery}`);
export const setGold = (id, told) => call("PUT", `/cases/${id}/gold`, told);
export const askCheck = (camera, told) => call("POST", `/cameras/${camera}/checks`, told);
export const getCheck = (camera, id) => call("GET", `/cameras/${camera}/checks/${id}`);
