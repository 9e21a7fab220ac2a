// Marks what is wider than its place on the page, so that the style sheet can say that it scrolls sideways.
document.addEventListener("DOMContentLoaded", () => {
  const places = [".pst-scrollable-table-container", "div.math", "figure", 'p:has(> img[src$=".svg"])', "div.cell_output .output"].map((place) => `.bd-article ${place}`);
  const boxes = document.querySelectorAll(places);
  const wide = (part) => part.scrollWidth > part.clientWidth + 1;
  const mark = () => boxes.forEach((box) => box.classList.toggle("scrolls", [box, ...box.querySelectorAll("math")].some(wide)));
  const seen = new ResizeObserver(mark); // fonts and images change it when they come
  boxes.forEach((box) => [box, ...box.children].forEach((part) => seen.observe(part)));
});
