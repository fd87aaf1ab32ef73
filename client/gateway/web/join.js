// How to bring another machine in, as commands to copy.

import { html } from "./vendor/htm-preact.js";
import { Shape } from "./icons.js";
import { Command, count } from "./parts.js";
import { isLoopback, joinCommand, range } from "./topology.js";

/** Commands shown for the gaps of one model; a swarm with more needs a person to think. */
const MAX_COMMANDS = 6;

/** What has to be changed in a command before it works on another machine. */
function AddressNote({ addresses }) {
  if (addresses.length === 0) {
    return html`<p class="muted">Put the address of a server of this swarm in place of ADDRESS; each one prints it at its start.</p>`;
  }
  if (addresses.every(isLoopback)) {
    return html`<p class="muted">The address in it is this gateway's own machine, so it works there only.</p>`;
  }
  return null;
}

/** The missing ranges, who is on the way to them, and the command that fills each. */
export function Gaps({ model, facts, addresses }) {
  const shown = facts.missing.slice(0, MAX_COMMANDS);
  const missing = facts.missing.reduce((sum, run) => sum + run.end - run.start, 0);
  const helpers = facts.joining.filter((server) =>
    facts.missing.some((run) => server.start < run.end && run.start < server.end),
  );
  return html`
    <section class="card gaps" aria-labelledby="gaps-title">
      <h2 id="gaps-title"><${Shape} kind="bad" />${count(missing, "block has", "blocks have")} no server</h2>
      <p>
        Without ${missing === 1 ? "it" : "them"} the model cannot answer. Missing: ${" "}
        ${shown.map((run, index) => html`${index > 0 && ", "}<span class="mono">${range(run)}</span>`)}
        ${facts.missing.length > shown.length && ` and ${facts.missing.length - shown.length} more ranges`}.
        ${helpers.map(
          (server) => html` <bdi>${server.name}</bdi> is joining with <span class="mono">${range(server)}</span>.`,
        )}
      </p>
      <p class="label">${shown.length === 1 ? "This command, run on a machine with room, fills the gap:" : "These commands, run on machines with room, fill the gaps:"}</p>
      ${shown.map((run) => html`<${Command} key=${run.start} text=${joinCommand(model, addresses, run)} />`)}
      <${AddressNote} addresses=${addresses} />
    </section>
  `;
}

export function AddMachine({ model, facts, addresses, isPlain = false }) {
  const command = html`
    <${Command} text=${joinCommand(model, addresses)} />
    <${AddressNote} addresses=${addresses} />
  `;
  if (isPlain) return command;
  return html`
    <section class="card add" aria-labelledby="add-title">
      <h2 id="add-title">Add a machine</h2>
      <p class="muted">
        Run this where there is memory to spare. The server takes as many blocks as fit, where the swarm is weakest; now
        that is <span class="mono">${range(facts.weakest)}</span>.
      </p>
      ${command}
    </section>
  `;
}
