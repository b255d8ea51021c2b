// Figures: what a mark says is shown where the pointer is; an entry of the legend shows or hides its marks.
{
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const separator = " · ";
  const mark = (target) => target.closest?.('figure.drawn [role="graphics-symbol"][aria-label*=" · "]');
  const show = (event) => {
    const found = mark(event.target);
    tip.hidden = !found;
    if (!found) return;
    const [name, ...values] = found.getAttribute("aria-label").split(separator);
    const head = document.createElement("b");
    head.textContent = name;
    tip.replaceChildren(head, ...values.map((text) => Object.assign(document.createElement("div"), { textContent: text })));
    const gap = 14, box = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + gap, innerWidth - box.width - 4);
    const above = event.clientY - box.height - gap;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${above > 4 ? above : event.clientY + gap}px`;
  };
  for (const type of ["pointermove", "pointerdown"]) addEventListener(type, show);
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  for (const figure of document.querySelectorAll("figure.drawn")) {
    const hidden = new Set();
    const texts = new Map();
    const apply = () => {
      for (const one of figure.querySelectorAll('[role="graphics-symbol"][aria-label*=" · "]')) {
        const parts = one.getAttribute("aria-label").split(separator);
        one.style.display = parts.some((part) => hidden.has(part)) ? "none" : "";
      }
      for (const [entry, text] of texts) entry.setAttribute("aria-pressed", String(!hidden.has(text)));
    };
    for (const entry of figure.querySelectorAll(".role-legend-entry .role-scope > g")) {
      const text = entry.querySelector(".role-legend-label text")?.textContent;
      const known = [...figure.querySelectorAll('[role="graphics-symbol"][aria-label*=" · "]')];
      if (!text || !known.some((one) => one.getAttribute("aria-label").split(separator).includes(text))) continue;
      texts.set(entry, text);
      entry.classList.add("switch");
      for (const [name, value] of [["role", "button"], ["tabindex", "0"], ["aria-pressed", "true"], ["aria-label", text]])
        entry.setAttribute(name, value);
      const turn = () => { hidden.delete(text) || hidden.add(text); apply(); };
      entry.addEventListener("click", turn);
      entry.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); turn(); }
      });
    }
  }
}
