import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact.js";
import { WINDOW_MS } from "./measurements.js";
import { figure, seconds } from "./parts.js";

const HEIGHT_PX = 132;
/** The time axis moves on by itself. */
const REDRAW_MS = 5000;

const CHARTS = [
  { field: "speed", title: "Speed", unit: "tokens per second", show: (value) => `${figure(value)} tok/s` },
  { field: "firstToken", title: "First token", unit: "seconds", show: seconds },
];

function options(width) {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const font = `11px ${style.getPropertyValue("--sans")}`;
  const axis = { stroke: color("--ink-2"), font, ticks: { show: false }, grid: { stroke: color("--line"), width: 1 } };
  return {
    width,
    height: HEIGHT_PX,
    padding: [8, 4, 6, 0],
    legend: { show: false },
    cursor: { show: false },
    scales: {
      x: { time: false, range: () => [(Date.now() - WINDOW_MS) / 1000, Date.now() / 1000] },
      y: { range: (_, low, high) => [0, Math.max(high * 1.15, 0.1)] },
    },
    axes: [
      { show: false },
      { ...axis, size: 40, space: 32, values: (_, splits) => splits.map((value) => figure(value)) },
    ],
    series: [
      {},
      {
        stroke: color("--accent-line"),
        fill: color("--accent-wash"),
        width: 1.75,
        points: { show: true, size: 5, fill: color("--accent-line") },
      },
    ],
  };
}

function Chart({ field, points }) {
  const frame = useRef(null);
  const chart = useRef(null);
  const data = () => [points.map((point) => point.at / 1000), points.map((point) => point[field])];

  useLayoutEffect(() => {
    const build = () => {
      chart.current?.destroy();
      chart.current = new globalThis.uPlot(options(frame.current.clientWidth), data(), frame.current);
    };
    build();
    const resized = new ResizeObserver(() => {
      const width = frame.current.clientWidth;
      if (width > 0 && width !== chart.current.width) chart.current.setSize({ width, height: HEIGHT_PX });
    });
    resized.observe(frame.current);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", build);
    return () => {
      resized.disconnect();
      scheme.removeEventListener("change", build);
      chart.current.destroy();
    };
  }, []);
  useEffect(() => chart.current.setData(data()));
  return html`<div class="plot" aria-hidden="true" ref=${frame} />`;
}

const middle = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** Speed and first token of the answers of the last ten minutes. */
export function Charts({ measurements }) {
  const [, redraw] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => redraw((times) => times + 1), REDRAW_MS);
    return () => clearInterval(timer);
  }, []);
  measurements.prune();
  return html`
    <section class="charts" aria-label="Answers of the last 10 minutes">
      ${CHARTS.map(({ field, title, unit, show }) => {
        const points = measurements.points.filter((point) => point[field] !== null);
        const values = points.map((point) => point[field]);
        return html`
          <figure class="card chart" key=${field}>
            <figcaption>
              <h2>${title}</h2>
              <p class="muted">${unit}, last 10 minutes</p>
              <p class="latest">
                ${values.length === 0
                  ? html`<span class="offscreen">no answers yet</span>`
                  : html`${show(values.at(-1))}<span class="offscreen">
                        latest of ${values.length}; middle ${show(middle(values))}</span
                      >`}
              </p>
            </figcaption>
            ${values.length === 0
              ? html`<p class="no-data muted">No answer has ended in the last 10 minutes.</p>`
              : html`
                  <${Chart} field=${field} points=${points} />
                  <p class="time-axis muted" aria-hidden="true"><span>10 min ago</span><span>5 min</span><span>now</span></p>
                `}
          </figure>
        `;
      })}
    </section>
  `;
}
