"use strict";
// Sort a table by a click on a column's head, and show only the rows that hold what is typed.
// Everything is text: nothing that stands in a cell ever becomes markup.
(() => {
  const NOTHING = "–";
  const FEW = 12; // rows that need no filter
  const words = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

  // A figure stands in data-sort as it is, with its unit behind it: "12.5 EUR".
  const keyOf = (cell, figures) => {
    const text = figures ? cell.dataset.sort || "" : cell.textContent.trim();
    if (text === "" || text === NOTHING) return null;
    if (!figures) return { unit: "", value: text };
    return { unit: text.split(" ")[1] || "", value: parseFloat(text) };
  };

  // Two currencies are never compared: one stands below the other. What is not known is last.
  const compare = (a, b, figures, direction) => {
    if (a === null || b === null) return (a === null) - (b === null);
    const units = words.compare(a.unit, b.unit);
    if (units !== 0) return units;
    return direction * (figures ? a.value - b.value : words.compare(a.value, b.value));
  };

  const sortable = (table, rows) => {
    const body = table.tBodies[0];
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, column) => {
      const figures = head.classList.contains("right");
      const turns = figures ? ["descending", "ascending"] : ["ascending", "descending"];
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const turn = turns[turns.indexOf(head.getAttribute("aria-sort")) + 1]; // then as it was
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        let order = rows;
        if (turn) {
          head.setAttribute("aria-sort", turn);
          const direction = turn === "ascending" ? 1 : -1;
          order = rows
            .map((row) => ({ row, key: keyOf(row.cells[column], figures) }))
            .sort((a, b) => compare(a.key, b.key, figures, direction))
            .map((one) => one.row);
        }
        body.append(...order);
      });
    });
  };

  const filterable = (table, rows, name) => {
    const texts = rows.map((row) =>
      Array.from(row.cells, (cell) => cell.textContent).join(" ").toLowerCase()
    );
    const label = document.createElement("label");
    const input = document.createElement("input");
    const count = document.createElement("output");
    label.className = "filter";
    input.type = "search";
    input.setAttribute("aria-label", `Filter the rows of ${name}`);
    label.append("Filter ", input, " ", count);
    table.parentElement.before(label);
    input.addEventListener("input", () => {
      const asked = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, n) => {
        row.hidden = !asked.every((word) => texts[n].includes(word));
        shown += row.hidden ? 0 : 1;
      });
      count.value = asked.length ? `${shown} of ${rows.length} rows` : "";
    });
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    const rows = Array.from(table.tBodies[0].rows);
    const title = table.closest("section").querySelector("h2").textContent;
    if (rows.length > 1) sortable(table, rows);
    if (rows.length > FEW) filterable(table, rows, title);
  }
})();
