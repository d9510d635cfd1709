"use strict";
// Tables are complete without this; with it, a click on a heading sorts.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => {
        const cell = row.cells[index];
        return "sort" in cell.dataset ? Number(cell.dataset.sort) : cell.textContent === "–" ? null : cell.textContent;
      };
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        // What is missing comes last either way.
        if (x === null || y === null) return (x === null) - (y === null);
        const by = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
        return down ? -by : by;
      };
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort(order));
    });
  });
}
