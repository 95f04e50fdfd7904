// The centre's REST surface. A lost connection throws Offline, an expired session SignedOut.
export class Offline extends Error {}
export class SignedOut extends Error {}
export class Refused extends Error { constructor(status, message) { super(message); this.status = status; } }

async function call(method, path, body) {
  let answer;
  try {
    answer = await fetch(path, { method, headers: body ? { "Content-Type": "application/json" } : {}, body: body ? JSON.stringify(body) : undefined });
  } catch { throw new Offline(); }
  if (answer.status === 204) return null;
  if (answer.status === 401) throw new SignedOut();
  if (answer.status >= 500) throw new Offline();
  const data = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, typeof data.detail === "string" ? data.detail : data.title ?? String(answer.status));
  return data;
}
export const login = (username, password) => call("POST", "/session", { username, password });
export const logout = () => call("DELETE", "/session");
export const me = () => call("GET", "/session");
export const queue = () => call("GET", "/cases?state=in_review&state=second_review&order=queue&limit=50");
export const counts = () => call("GET", "/queue");
export const oneCase = (id) => call("GET", `/cases/${id}`);
export const verdict = (id, said) => call("POST", `/cases/${id}/verdicts`, said);
export const undo = (id, verdictId) => call("DELETE", `/cases/${id}/verdicts/${verdictId}`);
export const fileUrl = (sha256) => `/evidence/${sha256}`;
