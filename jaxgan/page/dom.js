// Elements, numbers as text, and files of this page.

// An element with properties, attributes (those with a dash, and role), listeners (on...) and
// children. Text is always text: nothing that a run says becomes markup.
export function el(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

// The same within an SVG, where all properties are attributes.
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role" || name === "for" || name === "list") {
      element.setAttribute(name, value);
    } else element[name] = value;
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// A number with four digits, as 1,234, 0.01234 or 1.23e-5.
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "not finite";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e7) return value.toLocaleString("en");
  if (size !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(2);
  const digits = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4;
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

// A value and its error, of which two digits count.
export function withError(value, error) {
  if (!error || !Number.isFinite(value)) return number(value);
  const decimals = Math.max(0, 1 - Math.floor(Math.log10(error)));
  if (decimals > 6) return `${number(value)} ± ${number(error)}`;
  return `${value.toFixed(decimals)} ± ${error.toFixed(decimals)}`;
}

export function steps(count) {
  return count.toLocaleString("en");
}

export function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export function plural(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

// A run's files lie in data/ID. Paths are relative: the page works below any address.
export function path(run, file) {
  return `data/${encodeURIComponent(run.id)}/${file}`;
}

// Throws an Error whose message is the server's line.
export async function getJson(address) {
  const answer = await fetch(address, { cache: "no-store" });
  if (!answer.ok) {
    const line = (await answer.text()).trim();
    throw new Error(line.startsWith("<") || !line ? `${address}: ${answer.status}` : line);
  }
  return answer.json();
}

export async function getBytes(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address} cannot be read: ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}
