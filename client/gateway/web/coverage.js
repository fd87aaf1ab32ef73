import { html } from "./vendor/htm-preact.js";
import { count } from "./parts.js";
import { range } from "./topology.js";

/** With more blocks the lines between them would hide the bars. */
const MAX_LINED_BLOCKS = 80;
/** Ticks under the bars, at most. */
const MAX_TICKS = 8;

/** First blocks of evenly spaced groups, and the last block. */
function ticks(blocks) {
  const steps = [1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 256, 512, 1024];
  const step = steps.find((candidate) => blocks / candidate <= MAX_TICKS) ?? steps.at(-1);
  const found = [];
  for (let block = 0; block < blocks; block += step) found.push(block);
  return found;
}

const words = (facts) =>
  facts.coverage
    .map((run) => {
      const which = run.end - run.start === 1 ? `block ${run.start}` : `blocks ${run.start} to ${run.end - 1}`;
      return `${which}: ${run.count === 0 ? "no server" : count(run.count, "server")}`;
    })
    .join("; ");

/** How many servers hold each block: one column per run of blocks, as high as its count. */
export function Coverage({ model, facts }) {
  const highest = Math.max(1, ...facts.counts);
  const share = 100 / model.blocks;
  const isLined = model.blocks <= MAX_LINED_BLOCKS;
  return html`
    <section class="card coverage" aria-labelledby="coverage-title">
      <div class="card-head">
        <h2 id="coverage-title">Coverage</h2>
        <p class="muted">servers online per block</p>
      </div>
      <div class="skyline ${isLined ? "lined" : ""}" role="img" aria-label=${words(facts)} style=${{ "--share": `${share}%` }}>
        ${facts.coverage.map(
          (run) => html`
            <span
              key=${run.start}
              class="run ${run.count === 0 ? "missing" : run.count === facts.weakestCount ? "weakest" : ""}"
              style=${{ width: `${(run.end - run.start) * share}%` }}
            >
              <span class="bar" style=${{ height: run.count === 0 ? "100%" : `${12 + (88 * run.count) / highest}%` }}>
                ${(run.end - run.start) * share >= 4.5 && html`<b>${run.count === 0 ? "none" : `×${run.count}`}</b>`}
              </span>
            </span>
          `,
        )}
      </div>
      <div class="ticks" aria-hidden="true">
        ${ticks(model.blocks).map((block) => html`<span key=${block} style=${{ left: `${block * share}%` }}>${block}</span>`)}
      </div>
      <p class="muted legend">
        Ranges leave out their end: <span class="mono">${range({ start: 0, end: model.blocks })}</span> is all
        ${" "}${count(model.blocks, "block")}, <span class="mono">0</span> to <span class="mono">${model.blocks - 1}</span>.
      </p>
    </section>
  `;
}
