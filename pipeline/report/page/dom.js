/** Elements. Text of a manifest gets into the page through this module alone, as text or as an attribute's value. */

/**
 * h("a", { href: "#overview", onclick: go, class: "main" }, "Overview", h("b", {}, "!"))
 *
 * Names that begin with "on" are listeners; true and false set and leave out an attribute; a child that is null is left
 * out; strings are text, whatever they hold.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

/** As h, an element of an SVG. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

export const scrolled = (label, content) => h("div", { class: "scrolled", role: "region", "aria-label": label, tabindex: "0" }, content);

/** A table that may be wider than the screen. head: titles; rows: lists of what stands in their cells, the first a name. */
export function table(label, head, rows) {
  const cells = head.map((title) => h("th", { scope: "col" }, title));
  const lines = rows.map(([name, ...values]) => h("tr", {}, h("th", { scope: "row" }, name), values.map((value) => h("td", {}, value))));
  return scrolled(label, h("table", {}, h("caption", { class: "unseen" }, label), h("thead", {}, h("tr", {}, cells)), h("tbody", {}, lines)));
}

export const clipLink = (id) => `#clip/${encodeURIComponent(id)}`;

/** Announces a change of the page to screen readers. */
export function announce(text) {
  document.getElementById("status").textContent = text;
}

let fields = 0;

/** A control with its label, and what stands beside that. */
export function field(label, control, beside = null) {
  control.id = `field-${++fields}`;
  return h("div", { class: beside ? "field slider" : "field" }, h("label", { for: control.id }, label), beside, control);
}

/** options: [[value, text]] */
export function select(options, chosen, onchange) {
  const items = options.map(([value, text]) => h("option", { value, selected: value === chosen }, text));
  return h("select", { onchange: (event) => onchange(event.target.value) }, items);
}

/** A share of 1 with its bar. */
export function barred(share, text) {
  return share == null ? [text] : [`${text} `, h("span", { class: "bar", "aria-hidden": "true", "--share": share })];
}

/** An image that the page holds itself; nothing else is ever shown as one. */
export function picture(source, alt, attributes = {}) {
  if (!source.startsWith("data:image/")) throw new Error("a picture of the report is a data URI");
  return h("img", { src: source, alt, loading: "lazy", decoding: "async", ...attributes });
}

/** Runs `draw` when the element first comes near the screen. */
export function whenNear(element, draw) {
  const watch = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      watch.disconnect();
      draw();
    }
  }, { rootMargin: "200px" });
  watch.observe(element);
}
