import { html } from "./vendor/htm-preact.js";
import { Icon, Shape } from "./icons.js";
import { count } from "./parts.js";
import { summary } from "./topology.js";

/** Name, blocks and servers of a model: from the live picture where it has the model, else from the list. */
export function modelFacts(state, rawId) {
  const seen = state.topology?.models.find((model) => model.rawId === rawId);
  const listed = state.models?.find((model) => model.rawId === rawId);
  if (seen) {
    const { covered, online } = summary(seen);
    return { name: seen.id, blocks: seen.blocks, covered, servers: online };
  }
  if (!listed) return null;
  return { name: listed.id, blocks: listed.blocks, covered: listed.covered, servers: listed.servers };
}

/** Whether the model of the chat has no chat template, and so goes on with a text. */
export const isPlainModel = (state) =>
  state.models?.find((model) => model.rawId === state.chosen)?.isPlain === true;

/** Chooses among models `{ rawId, id }`. */
export function ModelPicker({ models, isLoading, isLocked = false, value, onChoose }) {
  return html`
    <div class="picker">
      <label class="offscreen" for="model">Model</label>
      <select
        id="model"
        disabled=${isLocked || models.length === 0}
        value=${value ?? ""}
        onChange=${(event) => onChoose(event.currentTarget.value)}
      >
        ${models.length === 0 && html`<option value="">${isLoading ? "Loading…" : "No model"}</option>`}
        ${models.map((model) => html`<option key=${model.rawId} value=${model.rawId}>${model.id}</option>`)}
      </select>
      <${Icon} name="chevron" />
    </div>
  `;
}

/** "32 of 32 blocks, 3 servers", with a shape that says whether that is enough. */
export function ModelState({ state }) {
  const facts = modelFacts(state, state.chosen);
  if (facts === null || facts.blocks === null) return null;
  const isWhole = facts.covered === facts.blocks && facts.blocks > 0;
  return html`
    <p class="model-state">
      <${Shape} kind=${isWhole ? "good" : "bad"} />
      <span>${facts.covered} of ${count(facts.blocks, "block")}<span class="wide">, ${count(facts.servers ?? 0, "server")}</span></span>
    </p>
  `;
}
