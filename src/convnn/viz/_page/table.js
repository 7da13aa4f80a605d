"use strict";

/* Unknown values come last in either direction. */
function compare(a, b, isNumber, direction) {
  if (a === "" || b === "") return (a === "") - (b === "");
  return direction * (isNumber ? a - b : a.localeCompare(b, undefined, { numeric: true }));
}

function sortBy(table, heads, head) {
  const column = heads.indexOf(head), isNumber = head.classList.contains("number");
  const before = head.getAttribute("aria-sort");
  const first = isNumber ? "descending" : "ascending", second = isNumber ? "ascending" : "descending";
  const order = before === first ? second : first, direction = order === "ascending" ? 1 : -1;
  heads.forEach((one) => one.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", order);
  const key = (row) => row.cells[column].dataset.key;
  const rows = [...table.tBodies[0].rows].sort((a, b) => compare(key(a), key(b), isNumber, direction));
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head) => head.firstElementChild.addEventListener("click", () => sortBy(table, heads, head)));
}
