// Marks what is wider than its place on the page, so that the style sheet can say that it scrolls sideways, keeps the names of rows and columns
// of tables in sight, and numbers with their intervals in one piece.
document.addEventListener("DOMContentLoaded", () => {
  const places = [".pst-scrollable-table-container", "div.math", "figure", 'p:has(> img[src$=".svg"])', "div.cell_output"].map((place) => `.bd-article ${place}`);
  const boxes = document.querySelectorAll(places);
  const tables = [...document.querySelectorAll(".bd-article table")];
  const wide = (part) => part.scrollWidth > part.clientWidth + 1;
  const together = /\d+(?: \/ \d+)+|[+\-]?\d[\d.]*e[+\-]\d+|\[[^\][\n]{1,28}\]|\d+ of \d+/g; // budgets, powers of ten, intervals

  const texts = (root) => {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT), found = [];
    while (walker.nextNode()) found.push(walker.currentNode);
    return found;
  };
  const keep = (text) => {
    const parts = text.data.split(together), whole = text.data.match(together);
    if (!whole) return;
    const span = (said) => Object.assign(document.createElement("span"), { className: "whole", textContent: said });
    text.replaceWith(...parts.flatMap((part, i) => (i ? [span(whole[i - 1]), part] : [part])));
  };
  for (const table of tables) {
    table.querySelectorAll("tbody td").forEach((cell) => texts(cell).forEach(keep));
    const names = [...table.querySelectorAll("tbody tr > :first-child")].map((cell) => cell.textContent);
    table.classList.toggle("two-names", new Set(names).size < names.length); // one column does not tell its rows apart
  }
  document.querySelectorAll(".bd-article span.math").forEach((formula) => { // no line begins with the full stop after a formula
    const next = formula.nextSibling;
    if (next?.nodeType !== Node.TEXT_NODE || !/^[.,;:)]/.test(next.data)) return;
    next.splitText(1);
    const kept = Object.assign(document.createElement("span"), { className: "with-its-stop" });
    formula.replaceWith(kept);
    kept.append(formula, next);
  });

  document.querySelectorAll("div.cell_output:has(table)").forEach((box) => box.classList.add("full-width")); // the theme hides Contents beside them

  const mark = () => {
    for (const table of tables) {
      const box = table.closest(".pst-scrollable-table-container, div.cell_output") ?? table;
      table.classList.add("in-one-piece");
      if (wide(box)) table.classList.remove("in-one-piece"); // better broken than scrolled
      box.classList.toggle("fits", !wide(box) && box.matches(".pst-scrollable-table-container"));
      table.style.setProperty("--first", `${table.querySelector("tr > :first-child")?.offsetWidth ?? 0}px`);
    }
    boxes.forEach((box) => {
      const scrolls = [box, ...box.querySelectorAll("math")].some(wide);
      box.classList.toggle("scrolls", scrolls);
      if (scrolls) box.tabIndex = 0; // for keyboards
    });
  };
  const seen = new ResizeObserver(mark); // fonts and images change it when they come
  boxes.forEach((box) => [box, ...box.children].forEach((part) => seen.observe(part)));
});
