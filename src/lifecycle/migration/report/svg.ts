/** Plots as inline SVG: no script, no font and no file from elsewhere. */
const WIDTH = 720;
const HEIGHT = 220;
const LEFT = 64;
const RIGHT = 16;
const TOP = 16;
const BOTTOM = 34;

export interface Line {
  readonly name: string;
  readonly className: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
  /** Holds its value until the next point. */
  readonly isStep: boolean;
}

export interface Axes {
  readonly title: string;
  readonly xMin: number;
  readonly xMax: number;
  readonly yMin: number;
  readonly yMax: number;
  readonly yLabel: string;
  readonly xTick: (x: number) => string;
  readonly yTick: (y: number) => string;
}

export interface IntervalMark {
  readonly name: string;
  readonly low: number;
  readonly value: number;
  readonly high: number;
  readonly note: string;
}

export const escapeXml = (text: string): string =>
  text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');

/** Lines over one pair of axes; empty text where no line has a point. */
export function linePlot(axes: Axes, lines: readonly Line[]): string {
  if (lines.every(({ points }) => points.length === 0)) return '';
  const x = scale(axes.xMin, axes.xMax, LEFT, WIDTH - RIGHT);
  const y = scale(axes.yMin, axes.yMax, HEIGHT - BOTTOM, TOP);
  const paths = lines.map(({ points, className, isStep }) => {
    const steps = points.map((point, at) => {
      const [px, py] = [x(point.x).toFixed(1), y(point.y).toFixed(1)];
      if (at === 0) return `M${px} ${py}`;
      return isStep ? `H${px}V${py}` : `L${px} ${py}`;
    });
    return `<path class="line ${className}" d="${steps.join('')}"/>`;
  });
  const legend = lines.map(
    ({ name, className }, at) =>
      `<g transform="translate(${LEFT + 8 + at * 150},${TOP + 4})"><path class="line ${className}" d="M0 0H22"/><text x="28" y="4">${escapeXml(name)}</text></g>`,
  );
  return frame(axes.title, [...grid(axes, x, y), ...paths, ...legend]);
}

/** Differences with their intervals, one row each, and the margin of what may be lost. */
export function intervalPlot(title: string, marks: readonly IntervalMark[], margin: number): string {
  if (marks.length === 0) return '';
  const reach =
    1.1 * Math.max(margin * 2, ...marks.flatMap(({ low, high }) => [Math.abs(low), Math.abs(high)]));
  const left = 190;
  const x = scale(-reach, reach, left, WIDTH - RIGHT);
  const rowHeight = 34;
  const height = TOP + BOTTOM + marks.length * rowHeight;
  const rows = marks.map(({ name, low, value, high, note }, at) => {
    const y = TOP + rowHeight * (at + 0.5);
    return `<text class="end" x="${left - 10}" y="${y + 4}">${escapeXml(name)}</text><path class="line new" d="M${x(low).toFixed(1)} ${y}H${x(high).toFixed(1)}"/><circle class="new" cx="${x(value).toFixed(1)}" cy="${y}" r="4"><title>${escapeXml(note)}</title></circle>`;
  });
  const bottom = height - BOTTOM;
  const zone = `<rect class="zone" x="${x(-margin).toFixed(1)}" y="${TOP}" width="${(x(margin) - x(-margin)).toFixed(1)}" height="${bottom - TOP}"/>`;
  const ticks = [-reach, -margin, 0, margin, reach].map(
    (value) =>
      `<path class="grid" d="M${x(value).toFixed(1)} ${TOP}V${bottom}"/><text class="middle" x="${x(value).toFixed(1)}" y="${bottom + 18}">${value.toFixed(3)}</text>`,
  );
  return frame(title, [zone, ...ticks, ...rows], height);
}

function grid(axes: Axes, x: (value: number) => number, y: (value: number) => number): readonly string[] {
  const xs = [0, 0.25, 0.5, 0.75, 1].map((share) => axes.xMin + share * (axes.xMax - axes.xMin));
  const ys = [0, 0.25, 0.5, 0.75, 1].map((share) => axes.yMin + share * (axes.yMax - axes.yMin));
  return [
    ...ys.map(
      (value) =>
        `<path class="grid" d="M${LEFT} ${y(value).toFixed(1)}H${WIDTH - RIGHT}"/><text class="end" x="${LEFT - 8}" y="${(y(value) + 4).toFixed(1)}">${escapeXml(axes.yTick(value))}</text>`,
    ),
    ...xs.map(
      (value) =>
        `<text class="middle" x="${x(value).toFixed(1)}" y="${HEIGHT - BOTTOM + 18}">${escapeXml(axes.xTick(value))}</text>`,
    ),
    `<text class="middle" transform="translate(14,${HEIGHT / 2}) rotate(-90)">${escapeXml(axes.yLabel)}</text>`,
  ];
}

const frame = (title: string, parts: readonly string[], height = HEIGHT): string =>
  `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escapeXml(title)}"><title>${escapeXml(title)}</title>${parts.join('')}</svg>`;

const scale =
  (fromMin: number, fromMax: number, toMin: number, toMax: number) =>
  (value: number): number =>
    fromMax === fromMin
      ? (toMin + toMax) / 2
      : toMin + ((value - fromMin) / (fromMax - fromMin)) * (toMax - toMin);
