// Draw the charts with Vega-Embed, which precedes this script; the tables show all figures without it.
const { charts, rows, config } = JSON.parse(document.getElementById("report").textContent);

// Transpose columns to rows.
const values = (columns) => {
  const names = Object.keys(columns);
  return columns[names[0]].map((_, row) => Object.fromEntries(names.map((name) => [name, columns[name][row]])));
};

for (const { name, rows: dataset, spec } of charts) {
  const container = document.getElementById(name);
  window
    .vegaEmbed(
      container,
      { ...spec, data: { values: values(rows[dataset]) } },
      // ast: expressions are interpreted, because the page's Content-Security-Policy forbids eval.
      { actions: false, ast: true, config, defaultStyle: false, renderer: "svg", tooltip: { disableDefaultStyle: true } },
    )
    .then(
      () => (container.dataset.drawn = "yes"),
      (error) => {
        container.dataset.drawn = String(error);
        container.closest("figure").hidden = true;
        for (const details of container.closest("section").querySelectorAll("details")) details.open = true;
      },
    );
}
// Expand all but the longest tables for printing, and collapse them afterwards.
const closed = [...document.querySelectorAll("details:not([open], .long)")];
addEventListener("beforeprint", () => closed.forEach((details) => (details.open = true)));
addEventListener("afterprint", () => closed.forEach((details) => (details.open = false)));
