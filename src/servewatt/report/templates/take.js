// CSV and PNG of every table and figure, made in the page.
{
  const save = (name, content) => {
    const address = URL.createObjectURL(content);
    const link = Object.assign(document.createElement("a"), { href: address, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  };
  const scale = 2;
  const canvasOf = (width, height) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: width * scale, height: height * scale });
    const brush = canvas.getContext("2d");
    brush.scale(scale, scale);
    brush.fillStyle = getComputedStyle(document.body).backgroundColor;
    brush.fillRect(0, 0, width, height);
    return [canvas, brush];
  };
  const png = (canvas, name) => canvas.toBlob((content) => save(`${name}.png`, content), "image/png");

  // A table is drawn text by text, where the browser has laid it out.
  const tablePng = (table, name) => {
    const box = table.getBoundingClientRect(), gap = 12;
    const [canvas, brush] = canvasOf(box.width + 2 * gap, box.height + 2 * gap);
    brush.textBaseline = "alphabetic";
    for (const row of table.rows) {
      const at = row.getBoundingClientRect();
      brush.fillStyle = getComputedStyle(row).borderBottomColor;
      if (at.height) brush.fillRect(at.left - box.left + gap, at.bottom - box.top + gap - 1, at.width, 0.6);
    }
    const walker = document.createTreeWalker(table, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (!node.data.trim() || node.parentElement.closest(".sr, svg")) continue;
      const look = getComputedStyle(node.parentElement);
      brush.font = `${look.fontWeight} ${look.fontSize} ${look.fontFamily}`;
      brush.fillStyle = look.color;
      const range = document.createRange();
      for (const word of node.data.matchAll(/\S+/g)) {
        range.setStart(node, word.index);
        range.setEnd(node, word.index + word[0].length);
        const at = range.getBoundingClientRect();
        if (at.width) brush.fillText(word[0], at.left - box.left + gap, at.bottom - box.top + gap - at.height * 0.24);
      }
    }
    png(canvas, name);
  };
  const figurePng = (svg, name) => {
    const box = svg.getBoundingClientRect();
    const copy = svg.cloneNode(true);
    copy.setAttribute("xmlns", "http" + ":" + "//www.w3.org/2000/svg");
    copy.setAttribute("width", box.width);
    copy.setAttribute("height", box.height);
    const look = getComputedStyle(document.documentElement);
    const text = new XMLSerializer().serializeToString(copy).replace(/var\((--[a-z]+)\)/g, (_, variable) => look.getPropertyValue(variable).trim());
    const picture = new Image();
    picture.onload = () => {
      const [canvas, brush] = canvasOf(box.width, box.height);
      brush.drawImage(picture, 0, 0, box.width, box.height);
      png(canvas, name);
    };
    picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  };
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const csv = (lines) => new Blob([lines], { type: "text/csv" });
  const figureCsv = (svg) => [...svg.querySelectorAll('[role="graphics-symbol"][aria-label*=" · "]')]
    .map((mark) => mark.getAttribute("aria-label").split(" · ").map(quoted).join(",")).join("\n") + "\n";
  const visible = (figure) => [...figure.querySelectorAll("svg")].find((svg) => svg.getBoundingClientRect().width) ?? figure.querySelector("svg");
  const buttons = (name, ways) => {
    const line = Object.assign(document.createElement("p"), { className: "take" });
    for (const [kind, take] of ways) {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: kind, title: `${name}.${kind.toLowerCase()}` });
      button.addEventListener("click", take);
      line.append(button);
    }
    return line;
  };
  for (const figure of document.querySelectorAll("figure.drawn")) {
    const name = [...figure.classList].find((one) => one !== "drawn");
    figure.append(buttons(name, [["CSV", () => save(`${name}.csv`, csv(figureCsv(visible(figure))))], ["PNG", () => figurePng(visible(figure), name)]]));
  }
  for (const table of document.querySelectorAll("table[data-name]")) {
    const name = table.dataset.name, known = data.tables[name];
    const ways = [["PNG", () => tablePng(table, name)]];
    if (known) ways.unshift(["CSV", () => save(`${name}.csv`, csv(known))]);
    table.closest(".scroll").after(buttons(name, ways));
  }
}
