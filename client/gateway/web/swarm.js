import { html } from "./vendor/htm-preact.js";
import { Charts } from "./charts.js";
import { Coverage } from "./coverage.js";
import { Shape } from "./icons.js";
import { AddMachine, Gaps } from "./join.js";
import { ModelPicker } from "./model-picker.js";
import { count, figure } from "./parts.js";
import { ServerTable } from "./server-table.js";
import { range, summary } from "./topology.js";

const STATES = {
  healthy: { word: "Healthy", shape: "good", tone: "good" },
  broken: { word: "Broken", shape: "bad", tone: "bad" },
  empty: { word: "No servers", shape: "none", tone: "" },
};

function Tiles({ model, facts }) {
  const weakest =
    facts.weakest === null
      ? "–"
      : html`×${facts.weakestCount} <small class="mono">${range(facts.weakest)}</small>`;
  const speed = facts.state === "healthy" ? model.bottleneck : null;
  const tiles = [
    ["Servers online", facts.online, facts.joining.length > 0 ? `${facts.joining.length} joining` : ""],
    ["Blocks covered", html`${facts.covered}<small> of ${model.blocks}</small>`, ""],
    ["Weakest blocks", weakest, ""],
    ["Speed at the weakest", speed === null ? "–" : html`${figure(speed)} <small>tok/s</small>`, speed === null ? "" : "as announced"],
  ];
  return html`
    <dl class="tiles">
      ${tiles.map(
        ([label, value, note]) => html`
          <div key=${label}><dt>${label}</dt><dd>${value}${note !== "" && html`<span class="note">${note}</span>`}</dd></div>
        `,
      )}
    </dl>
  `;
}

function Loading({ link }) {
  return html`
    <div class="card loading" aria-busy="true">
      <p>${link === "reconnecting" ? "The gateway does not answer. The page keeps trying." : "Looking at the swarm…"}</p>
      <span class="bone" /><span class="bone" /><span class="bone" />
    </div>
  `;
}

function Model({ model, addresses, measurements }) {
  const facts = summary(model);
  return html`
    <${Tiles} model=${model} facts=${facts} />
    ${facts.state === "broken" && html`<${Gaps} model=${model} facts=${facts} addresses=${addresses} />`}
    ${facts.state === "empty" &&
    html`
      <section class="card empty" aria-labelledby="empty-title">
        <h2 id="empty-title">Nobody serves this model yet</h2>
        <p class="muted">Start the first server; the rest of this page fills as it joins.</p>
        <${AddMachine} model=${model} facts=${facts} addresses=${addresses} isPlain=${true} />
      </section>
    `}
    ${model.blocks > 0 && facts.state !== "empty" && html`<${Coverage} model=${model} facts=${facts} />`}
    ${facts.state !== "empty" && html`<${Charts} measurements=${measurements} />`}
    ${model.servers.length > 0 && html`<${ServerTable} model=${model} />`}
    ${facts.state === "healthy" && html`<${AddMachine} model=${model} facts=${facts} addresses=${addresses} />`}
  `;
}

export function Swarm({ state, store, measurements }) {
  const { topology, link, chosen, mapped } = state;
  const find = (rawId) => topology?.models.find((known) => known.rawId === rawId);
  const seen = find(mapped) ?? find(chosen) ?? topology?.models[0] ?? null;
  const source = state.models?.find((served) => served.rawId === seen?.rawId)?.source ?? null;
  const model = seen === null ? null : { ...seen, source };
  const facts = model === null ? null : summary(model);
  const { word, shape, tone } = STATES[facts?.state ?? "empty"];
  return html`
    <div class="swarm-head">
      <h1>Swarm</h1>
      ${model !== null && html`<${ModelPicker}
        models=${topology.models}
        value=${model.rawId}
        onChoose=${(rawId) => store.set({ mapped: rawId })}
      />`}
      ${model !== null && html`<p class="pill ${tone}"><${Shape} kind=${shape} />${word}</p>`}
      <p class="offscreen" role="status">
        ${facts !== null &&
        `${model.id}: ${word}, ${facts.covered} of ${count(model.blocks, "block")} covered, ${count(facts.online, "server")} online`}
      </p>
    </div>
    ${topology !== null &&
    link === "reconnecting" &&
    html`<p class="notice" role="status">The gateway does not answer. What you see here may have changed since.</p>`}
    ${topology === null && html`<${Loading} link=${link} />`}
    ${topology !== null &&
    model === null &&
    html`
      <section class="card empty">
        <h2>The swarm is empty</h2>
        <p class="muted">
          No server has announced a model to the peers that this gateway knows. Once one does, it appears here within a
          few minutes.
        </p>
      </section>
    `}
    ${model !== null &&
    html`<${Model} key=${model.rawId} model=${model} addresses=${topology.addresses} measurements=${measurements} />`}
  `;
}
