for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const value = (row, column) => {
    let seen = 0;
    for (const cell of row.cells) {
      if (seen === column) return cell.dataset.sort ?? cell.textContent.trim();
      seen += cell.colSpan;
      if (seen > column) return "";
    }
    return "";
  };
  table.querySelectorAll("thead button").forEach((button) => {
    const head = button.closest("th");
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const missing = (text) => text === "" || text === "None";
      const rows = [...body.rows].sort((first, second) => {
        const a = value(first, head.cellIndex), b = value(second, head.cellIndex);
        if (missing(a) || missing(b)) return missing(a) - missing(b);
        const order = Number.isNaN(+a) || Number.isNaN(+b) ? a.localeCompare(b) : a - b;
        return up ? order : -order;
      });
      body.append(...rows);
    });
  });
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
