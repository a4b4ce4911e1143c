// Draws the charts of the page with the renderer that stands before this text. Without it the tables still say it all.
const { charts, rows, config } = JSON.parse(document.getElementById("report").textContent);

// The rows stand as columns.
const values = (columns) => {
  const names = Object.keys(columns);
  return columns[names[0]].map((_, row) => Object.fromEntries(names.map((name) => [name, columns[name][row]])));
};

for (const { name, rows: of, spec } of charts) {
  const place = document.getElementById(name);
  window
    .vegaEmbed(
      place,
      { ...spec, data: { values: values(rows[of]) } },
      // ast: expressions are interpreted, for the page's policy lets no text become code.
      { actions: false, ast: true, config, defaultStyle: false, renderer: "svg", tooltip: { disableDefaultStyle: true } },
    )
    .then(
      () => (place.dataset.drawn = "yes"),
      (error) => {
        place.dataset.drawn = String(error);
        place.closest("figure").hidden = true;
        for (const details of place.closest("section").querySelectorAll("details")) details.open = true;
      },
    );
}
// On paper nothing can be opened: there the tables are, but for the longest, and go again as they were.
const closed = [...document.querySelectorAll("details:not([open], .long)")];
addEventListener("beforeprint", () => closed.forEach((details) => (details.open = true)));
addEventListener("afterprint", () => closed.forEach((details) => (details.open = false)));
