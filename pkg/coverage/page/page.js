"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent) || [];
  const shown = 50;
  if (data.length === 0) return;
  const input = document.getElementById("find-text"), rows = document.getElementById("find-rows");
  const count = document.getElementById("find-count");
  const cell = (name, text) => {
    const c = document.createElement(name);
    if (name === "th") c.scope = "row"; else c.className = "n";
    c.textContent = text;
    return c;
  };
  const find = () => {
    const part = input.value.trim().toLowerCase();
    const found = data.filter((p) => p[0].toLowerCase().includes(part));
    rows.replaceChildren(...found.slice(0, shown).map((p) => {
      const row = document.createElement("tr");
      row.append(cell("th", p[0]), cell("td", p[2] || p[1] ? String(p[2] || p[1]) : "0"));
      for (const share of p.slice(3)) row.append(cell("td", share === null ? "–" : share.toFixed(1) + " %"));
      return row;
    }));
    count.textContent = found.length + " of " + data.length + (found.length > shown ? "; the first " + shown + " are shown" : "");
  };
  input.addEventListener("input", find);
  document.getElementById("find").hidden = data.length <= 10;
  find();
})();
