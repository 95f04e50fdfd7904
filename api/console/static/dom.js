// Small helpers: elements, and nothing that parses HTML from data.
export const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function dress(node, attrs, children) {
  for (const [name, value] of Object.entries(attrs ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "text") node.textContent = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((c) => c !== null && c !== undefined));
  return node;
}
export const el = (tag, attrs, ...children) => dress(document.createElement(tag), attrs, children);
export const svg = (tag, attrs, ...children) => dress(document.createElementNS(SVG, tag), attrs, children);
// For a library that reads a string as HTML: the map's tooltips do.
export const plain = (text) => document.createTextNode(text);
export const button = (text, onclick, attrs) => el("button", { type: "button", onclick, ...attrs }, text);

export function field(label, input) { return el("label", { class: "field" }, el("span", { text: label }), input); }

export function select(options, value, onchange, attrs) {
  const box = el("select", { onchange: (e) => onchange(e.target.value), ...attrs }, options.map(([key, name]) => el("option", { value: key, selected: String(key) === String(value) }, name)));
  return box;
}

export function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type })), a = el("a", { href: url, download: name });
  document.body.append(a);
  a.click();
  a.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export function csv(head, rows) {
  const cell = (v) => {
    const text = v === null || v === undefined ? "" : String(v);
    // A cell that begins like a formula would be run by a spreadsheet.
    const safe = typeof v === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [head, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}
