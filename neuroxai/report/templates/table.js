// Tables that sort by a click on a column's head and are narrowed by a word; thumbnails that are put in order.
(function () {
  "use strict";
  const key = (cell) => {
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = Number(text.replace("\u2212", "-").replace(/\s%/, ""));
    return text === "" || text === "n/a" ? null : Number.isNaN(number) ? text.toLowerCase() : number;
  };
  function compare(a, b) {
    if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1; // what is absent comes last
    if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
    return typeof a === "number" ? -1 : 1;
  }
  document.querySelectorAll("table.sortable").forEach((table) => {
    const body = table.tBodies[0];
    table.querySelectorAll("thead th").forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.textContent = head.textContent;
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") !== "descending";
        table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = Array.from(body.rows, (row) => [key(row.cells[column]), row]);
        rows.sort((one, two) => {
          if (one[0] === null || two[0] === null) return compare(one[0], two[0]);
          return (down ? -1 : 1) * compare(one[0], two[0]);
        });
        body.append(...rows.map((pair) => pair[1]));
      });
      head.replaceChildren(button);
    });
  });
  document.querySelectorAll("select[data-order]").forEach((select) => {
    const list = document.getElementById(select.dataset.order), items = Array.from(list.children);
    select.closest("p").hidden = false;
    select.addEventListener("change", () => {
      const value = (item) => { const text = item.dataset[select.value]; return select.value === "probability" ? -Number(text) : text; };
      list.append(...items.slice().sort((a, b) => compare(value(a), value(b))));
    });
  });
  document.querySelectorAll("input[data-filter]").forEach((input) => {
    const table = document.getElementById(input.dataset.filter);
    input.closest("p").hidden = false;
    input.addEventListener("input", () => {
      const word = input.value.toLowerCase();
      Array.from(table.tBodies[0].rows).forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(word); });
    });
  });
})();
