"use strict";
// Makes the tables sortable by a button in each heading: ascending, descending, as it was. Without
// scripts there are no buttons, and the tables are as they were.

const NEXT = new Map([[null, "ascending"], ["ascending", "descending"], ["descending", null]]);
const byName = new Intl.Collator("en", { numeric: true });

function sortableTable(table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => {
      const direction = NEXT.get(heading.getAttribute("aria-sort"));
      for (const other of headings) other.removeAttribute("aria-sort");
      if (direction) heading.setAttribute("aria-sort", direction);
      body.append(...(direction ? sorted(rows, column, direction) : rows));
    });
    heading.append(button);
  });
}

// Cells sort by their number, or by their text in columns that have none; "–" is always last.
function sorted(rows, column, direction) {
  const cells = rows.map((row) => row.cells[column]);
  const numeric = cells.some((cell) => cell.dataset.number !== undefined);
  const keys = new Map(rows.map((row, i) => [row, numeric ? number(cells[i]) : text(cells[i])]));
  const compare = numeric ? (a, b) => a - b : byName.compare;
  const sign = direction === "ascending" ? 1 : -1;
  const full = rows.filter((row) => keys.get(row) !== null);
  const empty = rows.filter((row) => keys.get(row) === null);
  return [...full.sort((a, b) => sign * compare(keys.get(a), keys.get(b))), ...empty];
}

function number(cell) {
  return cell.dataset.number === undefined ? null : Number(cell.dataset.number);
}

function text(cell) {
  const shown = cell.textContent.trim();
  return shown === "\u2013" ? null : shown;
}

for (const table of document.querySelectorAll("table.sortable")) {
  if (table.tBodies[0].rows.length > 1) sortableTable(table);
}
for (const hint of document.querySelectorAll(".hint")) {
  hint.hidden = document.querySelector("th button") === null;
}
