// Line charts, drawn in the page's own colours.

const SIZE = { width: 0, wide: 640, narrow: 400, height: 300, left: 52, right: 22, top: 12, bottom: 42 };

/**
 * A chart of lines, and what its colours mean.
 * lines: [{name (null: not named), faint, x: [numbers], y: [numbers or null, which are gaps]}], the first the main one.
 */
function chart(lines, xName, yName) {
  const xs = lines.flatMap((line) => line.x);
  const ys = lines.flatMap((line) => line.y).filter((value) => value !== null);
  SIZE.width = window.innerWidth < 700 ? SIZE.narrow : SIZE.wide; // on a phone a wide drawing would have tiny words
  if (!ys.length) return make("p", { class: "muted" }, "There are no numbers to draw.");
  const x = scale(Math.min(0, ...xs), Math.max(...xs), SIZE.left, SIZE.width - SIZE.right, false);
  const y = scale(Math.min(...ys), Math.max(...ys), SIZE.height - SIZE.bottom, SIZE.top, true);
  const svg = draw(
    "svg",
    { viewBox: `0 0 ${SIZE.width} ${SIZE.height}`, role: "img", "aria-label": `${yName} against ${xName}` },
    ...axes(x, y, xName, yName),
  );
  const named = lines.filter((line) => line.name !== null);
  for (const line of [...lines.filter((found) => found.faint), ...named.slice().reverse()]) {
    svg.append(...strokes(line, x, y, line.faint ? "faint" : `line-${named.indexOf(line) % 6}`));
  }
  const keys = named.map((line, index) => make("li", { class: `line-${index % 6}` }, line.name));
  return make("div", { class: "chart" }, make("ul", { class: "legend" }, ...keys), svg);
}

/** Maps [low, high] to [from, to]; by its logarithm where the numbers span more than a factor of 8 and it may. */
function scale(low, high, from, to, mayLog) {
  const log = mayLog && low > 0 && high / low > 8;
  const ticks = log ? logTicks(low, high) : linearTicks(low, high);
  if (!log) [low, high] = [Math.min(low, ticks[0]), Math.max(high, ticks[ticks.length - 1])];
  const place = log ? Math.log : (value) => value;
  const at = (value) => from + ((place(value) - place(low)) / (place(high) - place(low) || 1)) * (to - from);
  return { at, ticks };
}

function linearTicks(low, high) {
  const rough = (high - low || Math.abs(high) || 1) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.floor(low / step);
  return Array.from({ length: Math.ceil(high / step) - first + 1 }, (_, index) => (first + index) * step);
}

function logTicks(low, high) {
  const powers = Array.from({ length: 14 }, (_, index) => 10 ** (index - 6));
  const all = powers.flatMap((power) => [1, 2, 5].map((factor) => factor * power));
  return all.filter((value) => value >= low && value <= high);
}

function axes(x, y, xName, yName) {
  const bottom = SIZE.height - SIZE.bottom;
  const parts = y.ticks.flatMap((tick) => [
    draw("line", { class: "rule", x1: SIZE.left, x2: SIZE.width - SIZE.right, y1: y.at(tick), y2: y.at(tick) }),
    draw("text", { class: "tick", x: SIZE.left - 8, y: y.at(tick) + 4, "text-anchor": "end" }, short(tick)),
  ]);
  for (const tick of x.ticks) {
    parts.push(draw("text", { class: "tick", x: x.at(tick), y: bottom + 18, "text-anchor": "middle" }, short(tick)));
  }
  const middle = (SIZE.top + bottom) / 2;
  parts.push(
    draw("line", { class: "axis", x1: SIZE.left, x2: SIZE.width - SIZE.right, y1: bottom, y2: bottom }),
    draw("text", { class: "name", x: (SIZE.left + SIZE.width) / 2, y: SIZE.height - 6, "text-anchor": "middle" }, xName),
    draw("text", { class: "name", transform: `translate(13 ${middle}) rotate(-90)`, "text-anchor": "middle" }, yName),
  );
  return parts;
}

/** The line's pieces between gaps; a piece of one point is a dot. */
function strokes(line, x, y, kind) {
  const pieces = [[]];
  line.x.forEach((value, index) => {
    if (line.y[index] === null) pieces.push([]);
    else pieces[pieces.length - 1].push([x.at(value).toFixed(1), y.at(line.y[index]).toFixed(1)]);
  });
  return pieces
    .filter((piece) => piece.length)
    .map((piece) =>
      piece.length === 1
        ? draw("circle", { class: `dot ${kind}`, cx: piece[0][0], cy: piece[0][1], r: 4 })
        : draw("polyline", { class: `line ${kind}`, points: piece.map((point) => point.join()).join(" ") }),
    );
}

function short(value) {
  return Math.abs(value) >= 10000 ? `${Number((value / 1000).toPrecision(6))}k` : String(Number(value.toPrecision(6)));
}
