// The tables of cells: which are shown, under which policy and metric, in which order, and the runs of one cell.

const filters = document.getElementById("filters");
const state = { dataset: "", protocol: "", policy: "", metric: "", sort: {}, open: null };

const runsOf = new Map(); // "table,variant,budget" -> runs
for (const run of data.runs) {
  const key = run.cell.join();
  runsOf.set(key, [...(runsOf.get(key) || []), run]);
}

function startTables() {
  if (!filters) return;
  for (const select of filters.elements) state[select.name] = select.value;
  filters.addEventListener("change", (event) => {
    state[event.target.name] = event.target.value;
    showTables();
  });
  filters.addEventListener("submit", (event) => event.preventDefault());
  for (const article of document.querySelectorAll(".cells")) startTable(article);
  showTables();
}

function startTable(article) {
  const place = Number(article.dataset.table);
  article.querySelectorAll("thead button").forEach((button, column) => {
    button.addEventListener("click", () => sortBy(place, column));
  });
  article.querySelectorAll("tbody tr").forEach((row) => {
    row.querySelectorAll(".cell").forEach((button, column) => {
      const cell = [place, Number(row.dataset.row), column];
      button.disabled = !runsOf.has(cell.join());
      button.addEventListener("click", () => {
        state.open = String(state.open) === String(cell) ? null : cell;
        showTables();
      });
    });
  });
}

/** Best first (names: from a to z), and the other way round when chosen again. */
function sortBy(place, column) {
  const now = state.sort[place];
  state.sort[place] = { column, best: !(now && now.column === column && now.best) };
  showTables();
}

function showTables() {
  let shown = 0;
  for (const article of document.querySelectorAll(".cells")) {
    const table = data.tables[article.dataset.table];
    article.hidden =
      (state.dataset !== "" && table.dataset !== state.dataset) ||
      (state.protocol !== "" && table.protocol !== state.protocol);
    shown += article.hidden ? 0 : 1;
    for (const figures of document.querySelectorAll(".figures[data-table]")) {
      if (figures.dataset.table === article.dataset.table) figures.hidden = article.hidden;
    }
    showTable(article, table.views[state.policy][state.metric]);
  }
  document.getElementById("none-shown").hidden = shown > 0;
}

function showTable(article, view) {
  article.querySelector(".caption").textContent = view.caption;
  article.querySelector(".notes").textContent = view.notes.join(" ");
  article.querySelectorAll(".runs-of-cell").forEach((row) => row.remove());
  const rows = [...article.querySelectorAll("tbody tr")];
  for (const row of rows) {
    row.querySelectorAll(".cell").forEach((button, column) => {
      const [text, , strong] = view.cells[row.dataset.row][column];
      button.textContent = text;
      button.classList.toggle("strong", strong);
      button.setAttribute("aria-expanded", "false");
    });
  }
  orderRows(article, rows, view);
  if (state.open && String(state.open[0]) === article.dataset.table) openCell(article);
}

function orderRows(article, rows, view) {
  const sort = state.sort[article.dataset.table];
  const ascending = sort && sort.best !== (sort.column > 0 && data.higher[data.metrics.indexOf(state.metric)]);
  article.querySelectorAll("thead th").forEach((head, column) => {
    const sorted = sort && sort.column === column;
    head.setAttribute("aria-sort", sorted ? (ascending ? "ascending" : "descending") : "none");
  });
  if (!sort) return;
  const names = data.tables[article.dataset.table].variants;
  const key = (row) => (sort.column ? view.cells[row.dataset.row][sort.column - 1][1] : names[row.dataset.row]);
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === y) return a.dataset.row - b.dataset.row;
    if (x === null || y === null) return x === null ? 1 : -1; // without a number: always last
    return x < y === ascending ? -1 : 1;
  };
  article.querySelector("tbody").append(...rows.sort(compare));
}

/** A row below the open cell's own, with a link to each of its runs. */
function openCell(article) {
  const [place, variant, budget] = state.open;
  const table = data.tables[place];
  const row = [...article.querySelectorAll("tbody tr")].find((found) => Number(found.dataset.row) === variant);
  row.querySelectorAll(".cell")[budget].setAttribute("aria-expanded", "true");
  const runs = runsOf.get(state.open.join());
  const links = runs.map((run) =>
    make("li", {}, make("a", { href: runLink(run), class: run.status }, make("span", {}, `seed ${run.seed}`), " ", make("b", {}, shownValue(run)))),
  );
  const head = `${table.variants[variant]}, ${table.budgets[budget]} labels: ${runs.length} ${runs.length === 1 ? "run" : "runs"}`;
  const box = make("div", { class: "runs-box" }, make("p", {}, head), make("ul", {}, ...links));
  row.after(make("tr", { class: "runs-of-cell" }, make("td", { colspan: String(table.budgets.length + 1) }, box)));
}

/** What a run shows under the chosen policy and metric: its number, else why there is none. */
function shownValue(run) {
  if (run.status !== "done") return run.status;
  return run.values[state.policy][data.metrics.indexOf(state.metric)] ?? "no number";
}
