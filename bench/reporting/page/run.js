// One run: shown in place of the overview while the address ends in #run-ID.

const overview = document.getElementById("overview");
const runView = document.getElementById("run");
const runsById = new Map(data.runs.map((run) => [run.id, run]));
const title = document.title;
let left = null; // where the reader was in the overview: {scroll, focus}

function route() {
  const id = idInAddress();
  const run = runsById.get(id);
  if (run) showRun(run);
  else if (id !== null) say("There is no such run on this page.");
  if (!run) showOverview();
}

function idInAddress() {
  if (!location.hash.startsWith("#run-")) return null;
  try {
    return decodeURIComponent(location.hash.slice(5));
  } catch {
    return "";
  }
}

function showRun(run) {
  if (!overview.hidden) left = { scroll: window.scrollY, focus: document.activeElement };
  overview.hidden = true;
  runView.hidden = false;
  runView.replaceChildren(...runParts(run));
  document.title = `${run.id} – ${title}`;
  window.scrollTo(0, 0);
  runView.focus({ preventScroll: true });
}

function showOverview() {
  if (!overview.hidden) return;
  runView.hidden = true;
  runView.replaceChildren();
  overview.hidden = false;
  document.title = title;
  if (left === null) return;
  window.scrollTo(0, left.scroll);
  left.focus.focus({ preventScroll: true });
}

function runParts(run) {
  const table = data.tables[run.cell[0]];
  const place = [table.dataset, table.protocol, `${table.budgets[run.cell[2]]} labels`, `seed ${run.seed}`];
  return [
    neighbours(run),
    make("h1", {}, table.variants[run.cell[1]]),
    make("p", { class: "place" }, place.join(" · ")),
    verdict(run),
    sideBySide([...curves(run), ...samples(run)], origins(run)),
    ...settings(run),
  ].filter((part) => part !== null);
}

function sideBySide(left, right) {
  const parts = [left, right].filter((part) => part.length).map((part) => make("div", {}, ...part));
  return make("div", { class: parts.length > 1 ? "columns" : null }, ...parts);
}

function neighbours(run) {
  const cell = runsOf.get(run.cell.join());
  const at = cell.indexOf(run);
  const link = (other, before, after) =>
    other ? make("a", { href: runLink(other) }, `${before}seed ${other.seed}${after}`) : null;
  return make(
    "nav",
    { "aria-label": "This run among the others" },
    make("a", { href: "#tables" }, "← All results"),
    make("span", { class: "gap" }),
    link(cell[at - 1], "‹ ", ""),
    link(cell[at + 1], "", " ›"),
  );
}

function verdict(run) {
  if (run.status !== "done") {
    const reason = run.reason ? `: ${run.reason}` : "";
    return make("p", { class: "verdict failed" }, make("strong", {}, run.status), reason);
  }
  const units = ["% accuracy", "% error", "wrong images"];
  const values = run.values[state.policy].map((value, index) =>
    value === null ? null : make("span", {}, make("strong", {}, value), ` ${units[index]}`),
  );
  return make("p", { class: "verdict" }, ...values, make("span", { class: "muted" }, `policy ${state.policy}`));
}

function curves(run) {
  if (!run.curve) return [];
  const steps = data.steps[run.curve.steps];
  const own = Object.entries(run.curve.errors)
    .map(([name, y]) => ({ name, faint: false, x: steps, y }))
    .sort((a, b) => (b.name === run.curve.main) - (a.name === run.curve.main));
  const others = runsOf
    .get(run.cell.join())
    .filter((other) => other !== run && other.curve)
    .map((other) => ({
      name: null, faint: true, x: data.steps[other.curve.steps], y: other.curve.errors[other.curve.main],
    }));
  const parts = [
    make("h2", {}, "Test error"),
    chart([...own, ...others], "steps", "test error (%)"),
    make("p", { class: "muted" }, others.length ? "Faint: the other seeds of this cell." : ""),
  ];
  if (run.losses) {
    const x = data.steps[run.losses.steps];
    const losses = Object.entries(run.losses.values).map(([name, y]) => ({ name, faint: false, x, y }));
    parts.push(make("h2", {}, "Losses"), chart(losses, "steps", "loss"));
  }
  parts.push(folded("The test errors as numbers", false, numbers(steps, own)));
  return parts;
}

function numbers(steps, lines) {
  const head = ["step", ...lines.map((line) => `${line.name} (%)`)].map((name) => make("th", { scope: "col" }, name));
  const rows = steps.map((step, index) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, String(step)),
      ...lines.map((line) => make("td", {}, line.y[index] === null ? "–" : String(line.y[index]))),
    ),
  );
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Test errors" }, table);
}

function samples(run) {
  if (!run.sample) return [];
  return [make("h2", {}, "Samples"), make("img", { class: "sample", alt: "What this run had learnt to generate", src: run.sample })];
}

function origins(run) {
  if (!run.facts) return [make("p", { class: "muted" }, `This page was made without details; \`bench show ${run.id}\` has them.`)];
  return [
    make("h2", {}, "Reproduce it"),
    ...commandBox(run.command),
    make("h2", {}, "Facts"),
    pairs([["run", run.id], ...run.facts], []),
  ];
}

function settings(run) {
  if (!run.facts) return [];
  const changed = run.changed.length ? `Differs from its protocol in ${run.changed.join(", ")}.` : "The recipe of its protocol.";
  return [
    folded("Recipe", true, make("p", { class: "muted" }, changed), pairs(data.recipes[run.recipe], run.changed, true)),
    folded("Provenance", false, pairs(data.provenances[run.provenance], [], true)),
  ];
}

function folded(name, open, ...parts) {
  return make("details", { open: open ? "" : null }, make("summary", {}, name), ...parts);
}

function pairs(entries, marked, wide = false) {
  const rows = entries.map(([name, value]) =>
    make("div", { class: marked.includes(name) ? "marked" : null }, make("dt", {}, name), make("dd", {}, value)),
  );
  return make("dl", { class: wide ? "pairs wide" : "pairs" }, ...rows);
}

/** The command with a button that copies it, or selects it where a page may not copy. */
function commandBox(command) {
  const code = make("code", { tabindex: "0" }, command);
  const button = make("button", { type: "button", class: "copy" }, "Copy");
  button.addEventListener("click", async () => {
    getSelection().selectAllChildren(code);
    let done = "Copied";
    try {
      await navigator.clipboard.writeText(command);
    } catch {
      done = "Selected";
    }
    button.textContent = done;
    say(done === "Copied" ? "The command is copied." : "The command is selected: copy it now.");
  });
  return [make("div", { class: "command" }, code, button)];
}
