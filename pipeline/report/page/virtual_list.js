/** A table of any length of which only the rows in sight are in the document. Columns sort when their heads are pressed. */

import { announce, h } from "report/dom";

const ROW_PX = 40; // table.css sets it
const AROUND = 12; // rows kept ready above and below what is in sight
const ON_PAPER = 60; // rows that are printed

const lists = [];
let onPaper = false;

/** Puts every list's first rows into the document, as paper cannot be scrolled. */
export function printLists() {
  onPaper = true;
  for (const list of lists) list.toPaper();
}

/** Puts back the rows in sight. */
export function unprintLists() {
  onPaper = false;
  for (const list of lists) list.draw();
}

/**
 * columns: [{ key, title, value(item), cell(item), words?, optional? }]. `value` is what the column sorts by, null last
 * either way; `cell` gives what is shown, a text, an element or several. The first column heads its row. `words`:
 * flush left, and A to Z first; others are figures, and the largest come first. `optional`: not on paper.
 */
export class VirtualList {
  constructor(label, columns) {
    this.columns = columns;
    this.items = [];
    this.rows = new Map(); // place -> <tr> in the document
    this.sorted = { key: null, descending: false };
    this.head = h("tr", {}, columns.map((column) => this.#headCell(column)));
    this.above = h("tr", { class: "space", "aria-hidden": "true" }, h("td", { colspan: columns.length }));
    this.below = h("tr", { class: "space", "aria-hidden": "true" }, h("td", { colspan: columns.length }));
    this.body = h("tbody", {}, this.above, this.below);
    this.table = h("table", {}, h("caption", { class: "unseen" }, label), h("thead", {}, this.head), this.body);
    this.nothing = h("p", { class: "nothing", hidden: true }, "No clip fits.");
    this.paper = h("p", { class: "on-paper" });
    this.element = h("div", { class: "list", role: "region", "aria-label": label, tabindex: "0" }, this.table, this.nothing, this.paper);
    this.element.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(this.element);
    lists.push(this);
  }

  #headCell(column) {
    const press = () => this.sort(column.key, this.sorted.key === column.key ? !this.sorted.descending : !column.words);
    const button = h("button", { type: "button", onclick: press }, column.title, h("span", { "aria-hidden": "true" }));
    const kind = [column.words ? "words" : "", column.optional ? "optional" : ""].join(" ").trim();
    return h("th", { scope: "col", class: kind || null, "data-key": column.key }, button);
  }

  /** Shows these items, sorted as before, from the top. */
  show(items) {
    this.items = this.#inOrder(items);
    this.table.setAttribute("aria-rowcount", items.length + 1);
    this.nothing.hidden = items.length > 0;
    this.table.hidden = items.length === 0;
    this.#again();
  }

  sort(key, descending) {
    this.sorted = { key, descending };
    for (const cell of this.head.children) {
      const by = cell.dataset.key === key;
      if (by) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
      cell.querySelector("span").textContent = by ? (descending ? " ▼" : " ▲") : "";
    }
    this.items = this.#inOrder(this.items);
    this.#again();
    const { title } = this.columns.find((column) => column.key === key);
    announce(`Sorted by ${title}, ${descending ? "descending" : "ascending"}.`);
  }

  #inOrder(items) {
    const column = this.columns.find((one) => one.key === this.sorted.key);
    if (!column) return items;
    const turn = this.sorted.descending ? -1 : 1;
    const keyed = items.map((item) => [column.value(item), item]);
    keyed.sort(([a], [b]) => {
      if (a == null || b == null) return (a == null) - (b == null);
      return a < b ? -turn : a > b ? turn : 0;
    });
    return keyed.map(([, item]) => item);
  }

  toPaper() {
    this.#between(0, Math.min(ON_PAPER, this.items.length));
    this.paper.textContent = this.items.length > ON_PAPER ? `The first ${ON_PAPER} of ${this.items.length}; scores.parquet has all.` : "";
  }

  #again() {
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    this.element.scrollTop = 0;
    this.draw();
  }

  draw() {
    if (!this.element.clientHeight || onPaper) return; // not shown, or all that is to be shown is there
    const first = Math.floor(this.element.scrollTop / ROW_PX) - AROUND;
    const last = Math.ceil((this.element.scrollTop + this.element.clientHeight) / ROW_PX) + AROUND;
    this.#between(Math.max(0, first), Math.min(this.items.length, last));
  }

  /** Rows that stay keep their elements, so that focus and selection stay, too. */
  #between(first, last) {
    for (const [place, row] of this.rows) {
      if (place < first || place >= last) {
        row.remove();
        this.rows.delete(place);
      }
    }
    let before = this.below;
    for (let place = last - 1; place >= first; place--) {
      let row = this.rows.get(place);
      if (!row) {
        row = this.#row(place);
        this.rows.set(place, row);
        before.before(row);
      }
      before = row;
    }
    this.above.firstChild.style.height = `${onPaper ? 0 : first * ROW_PX}px`;
    this.below.firstChild.style.height = `${onPaper ? 0 : (this.items.length - last) * ROW_PX}px`;
  }

  #row(place) {
    const item = this.items[place];
    const cells = this.columns.map((column, at) => {
      const kind = [column.words ? "words cut" : "", column.optional ? "optional" : ""].join(" ").trim() || null;
      const content = column.cell(item);
      return at === 0 ? h("th", { scope: "row", class: kind }, content) : h("td", { class: kind }, content);
    });
    return h("tr", { "aria-rowindex": place + 2 }, cells);
  }
}
