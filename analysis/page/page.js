(function () {
  "use strict";
  const payload = JSON.parse(document.getElementById("payload").textContent);
  const night = window.matchMedia("(prefers-color-scheme: dark)");
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  const store = new Map();

  // Columns (strings as words and codes) back to rows; each dataset once.
  function rows(name) {
    if (store.has(name)) return store.get(name);
    const columns = Object.entries(payload.datasets[name] || {}).map(([key, column]) =>
      [key, Array.isArray(column) ? column : column.codes.map((code) => (code === null ? null : column.words[code]))]);
    const count = columns.length ? columns[0][1].length : 0;
    const made = Array.from({ length: count }, (_, i) => Object.fromEntries(columns.map(([key, column]) => [key, column[i]])));
    store.set(name, made);
    return made;
  }

  function namesIn(spec, found = new Set()) {
    if (Array.isArray(spec)) spec.forEach((one) => namesIn(one, found));
    else if (spec && typeof spec === "object") {
      if (spec.data && typeof spec.data.name === "string") found.add(spec.data.name);
      Object.values(spec).forEach((one) => namesIn(one, found));
    }
    return found;
  }

  function config(dark) {
    const ink = dark ? "#e6e8eb" : "#1f2328", soft = dark ? "#a0a8b2" : "#57606a", line = dark ? "#333a42" : "#e3e6ea";
    const font = getComputedStyle(document.body).fontFamily;
    return {
      background: "transparent", font, view: { stroke: null },
      axis: { labelColor: soft, titleColor: soft, gridColor: line, domainColor: line, tickColor: line, labelFontSize: 11.5, titleFontSize: 12, titleFontWeight: 500, titlePadding: 9, labelPadding: 5 },
      axisX: { grid: true }, legend: { labelColor: ink, titleColor: soft, labelFontSize: 12, symbolSize: 80, rowPadding: 4, columnPadding: 18 },
      text: { color: ink }, header: { labelColor: ink }, line: { strokeCap: "round", strokeJoin: "round" },
    };
  }

  function draw(element) {
    const entry = payload.charts[element.dataset.chart];
    const dark = night.matches;
    let source = JSON.stringify(entry.spec || payload.templates[entry.template]);
    if (dark) for (const [from, to] of Object.entries(payload.dark)) source = source.replaceAll(from, to);
    const spec = JSON.parse(source);
    if (entry.description) spec.description = entry.description;
    spec.autosize = { type: "fit-x", contains: "padding" };
    for (const one of spec.params || []) if (one.name in chosen) one.value = chosen[one.name];
    spec.datasets = {};
    for (const name of namesIn(spec)) spec.datasets[name] = rows(name === "panel" ? entry.data : name).map((row) => ({ ...row }));
    element.dataset.state = "drawing";
    return vegaEmbed(element, spec, {
      renderer: "svg", config: config(dark), tooltip: { theme: dark ? "dark" : "light" }, downloadFileName: element.dataset.chart,
      actions: { export: true, source: false, compiled: false, editor: false },
      patch: (vega) => { for (const legend of vega.legends || []) for (const part of ["symbols", "labels"]) legend.encode = { ...legend.encode, [part]: { ...legend.encode?.[part], interactive: true } }; return vega; },
    }).then(({ view }) => {
      if ((spec.params || []).some((one) => one.name in chosen)) { views.set(element, view); view.addEventListener("click", (_, item) => pick(item)); }
      const menu = element.querySelector("summary");
      if (menu) menu.setAttribute("aria-label", "Save this figure");
      element.style.minHeight = "";
      element.dataset.state = "drawn";
    })
      .catch((error) => { element.dataset.state = "failed"; element.textContent = "This figure could not be drawn; its numbers are in the table."; console.error(error); });
  }

  // One data set and one size can be highlighted in every figure, from two lists or by a click on a mark or a legend.
  const kept = "report-chosen", views = new Map(), lists = {};
  const chosen = { chosen_dataset: null, chosen_size: null, ...JSON.parse(sessionStorage.getItem(kept) || "{}") };
  function choose(name, value) {
    chosen[`chosen_${name}`] = value;
    sessionStorage.setItem(kept, JSON.stringify(chosen));
    show();
    views.forEach((view) => view.signal(`chosen_${name}`, value).runAsync());
  }
  function pick(item) {
    const of = item?.datum || {};
    for (const [name, value] of [["dataset", of.dataset ?? of.value], ["size", of.size]])
      if (payload.choices[name].includes(value)) return choose(name, chosen[`chosen_${name}`] === value ? null : value);
  }
  // The data set and the size that the cells of a table row name.
  const named = Array.from(document.querySelectorAll("main tbody tr"), (row) => {
    const words = Array.from(row.cells, (cell) => cell.textContent);
    return [row, { dataset: words.find((word) => payload.choices.dataset?.includes(word)), size: words.find((word) => payload.choices.size?.includes(word)) }];
  }).filter(([, names]) => names.dataset || names.size);
  function show() {
    const wanted = ["dataset", "size"].filter((name) => chosen[`chosen_${name}`] !== null);
    for (const [row, names] of named) row.classList.toggle("chosen", wanted.length > 0 && wanted.every((name) => names[name] === chosen[`chosen_${name}`]));
    for (const name of ["dataset", "size"]) if (lists[name]) lists[name].value = chosen[`chosen_${name}`] ?? "";
    document.querySelectorAll(".panel").forEach((panel) => panel.classList.toggle("other", wanted.some((name) =>
      name in panel.dataset && panel.dataset[name] !== chosen[`chosen_${name}`])));
  }
  const form = document.querySelector(".choice");
  for (const [name, what] of [["dataset", "data set"], ["size", "size"]]) {
    if (!payload.choices[name]?.includes(chosen[`chosen_${name}`])) chosen[`chosen_${name}`] = null;
    if (!(payload.choices[name]?.length > 1)) continue;
    const label = document.createElement("label"), list = document.createElement("select");
    list.append(new Option(`all ${what}s`, ""), ...payload.choices[name].map((one) => new Option(one, one)));
    list.addEventListener("change", () => choose(name, list.value || null));
    label.append(`Highlight a ${what}`, list);
    form.append(label);
    form.hidden = false;
    lists[name] = list;
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") for (const name in lists) choose(name, null); });
  show();

  // A followed page reloads itself; folds, heights and scroll position are kept, so that nothing moves while reading.
  const view = JSON.parse((payload.reload_s && sessionStorage.getItem("report-view")) || "null");
  const folds = () => Array.from(document.querySelectorAll("main details:not(.vega-embed details)")).map((fold) =>
    [`${fold.closest("section")?.id}: ${fold.querySelector("summary").textContent}`, fold]);
  if (view) {
    history.scrollRestoration = "manual";
    for (const [key, fold] of folds()) if (key in view.folds) fold.open = view.folds[key];
    for (const one of document.querySelectorAll("[data-chart]")) one.style.minHeight = `${view.heights[one.dataset.chart] || 0}px`;
    restore();
  }
  function restore() {
    const section = document.getElementById(view.section);
    if (section) window.scrollBy({ top: section.getBoundingClientRect().top - view.top, behavior: "instant" });
  }
  function loadAgain() {
    if (getSelection().toString() || document.activeElement.closest("select, .vega-embed")) return;
    const heights = Object.fromEntries(charts.map((one) => [one.dataset.chart, one.offsetHeight]));
    const open = Object.fromEntries(folds().map(([key, fold]) => [key, fold.open]));
    const here = Array.from(document.querySelectorAll("section")).findLast((one) => one.getBoundingClientRect().top <= 0);
    const top = here?.getBoundingClientRect().top;
    sessionStorage.setItem("report-view", JSON.stringify({ section: here?.id, top, heights, folds: open }));
    location.reload();
  }
  if (payload.reload_s) setInterval(loadAgain, payload.reload_s * 1000);

  const charts = Array.from(document.querySelectorAll("[data-chart]"));
  const visible = (element) => !element.closest("details:not([open])");
  function drawAll() { return Promise.all(charts.filter(visible).map(draw)); }
  document.querySelectorAll("main details").forEach((fold) => fold.addEventListener("toggle", () => {
    if (fold.open) fold.querySelectorAll("[data-chart]:not([data-state])").forEach(draw);
  }));
  night.addEventListener("change", drawAll);
  window.addEventListener("beforeprint", () => charts.filter((one) => !one.dataset.state && visible(one)).forEach(draw));

  // Nothing can be unfolded on paper: short tables under figures are printed open, and folded again afterwards.
  const unfolded = [];
  window.addEventListener("beforeprint", () => document.querySelectorAll("figure > details:not([open])").forEach((fold) => {
    if (fold.querySelectorAll("tr").length <= 40) { fold.open = true; unfolded.push(fold); }
  }));
  window.addEventListener("afterprint", () => unfolded.splice(0).forEach((fold) => { fold.open = false; }));

  function save(name, parts, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(parts, { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
  // A spreadsheet would run a name that begins like a formula; an apostrophe keeps it text.
  const plain = (value) => (typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value));
  const quote = (value) => (value === null || value === undefined ? "" : /[",\n\r]/.test(plain(value)) ? `"${plain(value).replaceAll('"', '""')}"` : plain(value));
  function csv(columns, table) {
    return [columns, ...table.map((row) => columns.map((name) => row[name]))].map((line) => line.map(quote).join(",")).join("\n") + "\n";
  }
  const list = document.getElementById("download-list");
  if (list) payload.downloads.forEach((one) => {
    const item = document.createElement("li"), button = document.createElement("button"), what = document.createElement("small");
    button.type = "button"; button.textContent = one.name; what.textContent = one.what; button.append(what); item.append(button); list.append(item);
    button.addEventListener("click", () => one.base64
      ? save(one.name, [Uint8Array.from(atob(one.base64), (c) => c.charCodeAt(0))], "application/octet-stream")
      : save(one.name, [csv(one.columns, rows(one.data))], "text/csv"));
  });

  const contents = document.querySelector(".contents details");
  if (contents && window.innerWidth < 1120) contents.open = false;
  if (!calm.matches) document.documentElement.classList.add("motion");
  drawAll().then(() => {
    if (view) restore();
    document.documentElement.dataset.ready = "true";
  });

})();
