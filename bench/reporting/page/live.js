// Only in a page of `bench serve`: what is being trained now, and a fresh page as soon as there is one.

const POLL = 2000; // milliseconds
const KEPT = "bench-page"; // where the choices wait while the page is loaded anew
const box = document.getElementById("live");

function keepChoices() {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(state));
  } catch {} // a browser that stores nothing shows the page as it was first
}

function restoreChoices() {
  let kept = null;
  try {
    kept = JSON.parse(sessionStorage.getItem(KEPT));
    sessionStorage.removeItem(KEPT);
  } catch {}
  if (!kept || !filters) return;
  for (const select of filters.elements) {
    const offered = [...select.options].some((option) => option.value === kept[select.name]);
    if (offered) state[select.name] = select.value = kept[select.name];
  }
  showTables();
}

async function poll() {
  let now = null;
  try {
    now = await (await fetch("/state", { cache: "no-store" })).json();
  } catch {
    box.replaceChildren(make("p", {}, "The server does not answer; this page shows what was there last."));
    box.hidden = false;
  }
  if (now && now.fingerprint !== document.documentElement.dataset.fingerprint) {
    keepChoices();
    location.reload();
    return;
  }
  if (now) showProgress(now);
  setTimeout(poll, POLL);
}

function showProgress(now) {
  const bars = now.running.map((cohort) =>
    make(
      "li",
      {},
      make("span", {}, `${cohort.name} × ${cohort.runs}`),
      make("progress", { max: String(cohort.steps), value: String(cohort.step), "aria-label": cohort.name }),
      make("span", { class: "muted" }, `step ${cohort.step} of ${cohort.steps}`),
    ),
  );
  const cohorts = now.running.length === 1 ? "1 cohort is" : `${now.running.length || "No"} cohorts are`;
  const stale = now.stale ? ` ${now.stale} stale runs are hidden: today's code would not produce them.` : "";
  const parts = [make("p", {}, `${now.finished} runs are stored. ${cohorts} in training.${stale}`)];
  if (now.problem) parts.push(make("p", { class: "problem" }, now.problem));
  if (bars.length) parts.push(make("ul", {}, ...bars));
  box.replaceChildren(...parts);
  box.hidden = false;
}

restoreChoices();
poll();
