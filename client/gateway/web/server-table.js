import { html, useMemo, useState } from "./vendor/htm-preact.js";
import { Icon, Shape } from "./icons.js";
import { count, figure } from "./parts.js";
import { range } from "./topology.js";
import { shortPeer } from "./untrusted.js";

/** Fewer rows are found by eye. */
const MIN_SERVERS_TO_SEARCH = 8;
const COLUMNS = 7;

/** State, and for those online how busy they are. */
function stateOf(server) {
  if (server.state === "online") {
    return {
      green: { word: "online", shape: "good" },
      amber: { word: "busy", shape: "part" },
      red: { word: "overloaded", shape: "warn" },
    }[server.health];
  }
  return { joining: { word: "joining", shape: "part" }, offline: { word: "offline", shape: "none" }, unreachable: { word: "unreachable", shape: "bad" } }[
    server.state
  ];
}

const byBlocks = (a, b) => a.start - b.start || a.end - b.end || byName(a, b);
const byName = (a, b) => a.name.localeCompare(b.name) || (a.peer < b.peer ? -1 : 1);
const STATE_ORDER = ["unreachable", "offline", "joining", "online"];
const ORDERS = {
  blocks: { label: "Sort by blocks", compare: byBlocks },
  speed: { label: "Sort by speed", compare: (a, b) => (b.speed ?? -1) - (a.speed ?? -1) || byBlocks(a, b) },
  name: { label: "Sort by name", compare: byName },
  state: {
    label: "Troubled first",
    compare: (a, b) => STATE_ORDER.indexOf(a.state) - STATE_ORDER.indexOf(b.state) || byBlocks(a, b),
  },
};

function BlockBar({ server, blocks }) {
  const held = server.end > server.start ? `blocks ${server.start} to ${server.end - 1} of ${blocks}` : "no blocks";
  const left = blocks === 0 ? 0 : (100 * server.start) / blocks;
  const width = blocks === 0 ? 0 : (100 * (server.end - server.start)) / blocks;
  return html`
    <span class="block-bar ${server.state}" role="img" aria-label=${held}>
      <span style=${{ left: `${left}%`, width: `${width}%` }} />
    </span>
  `;
}

function Details({ server, id }) {
  const facts = [
    ["Peer", html`<span class="mono peer-id">${server.peer}</span>`],
    ["Decoding", `${figure(server.inferenceSpeed)} tok/s`],
    ["Prompts", `${figure(server.forwardSpeed)} tok/s`],
    ["Network", `${figure(server.networkSpeed)} tok/s`],
    ["Precision", server.quant === "none" ? server.dtype : `${server.dtype}, ${server.quant}`],
    ["Adapters", server.adapters.length === 0 ? "none" : server.adapters.join(", ")],
  ];
  return html`
    <tr class="details" role="row" id=${id}>
      <td role="cell" colspan=${COLUMNS}>
        <dl>${facts.map(([term, value]) => html`<div key=${term}><dt>${term}</dt><dd>${value}</dd></div>`)}</dl>
      </td>
    </tr>
  `;
}

function Row({ server, blocks, isOpen, onToggle, index }) {
  const { word, shape } = stateOf(server);
  const id = `details-${index}`;
  return html`
    <tr role="row" class=${server.state}>
      <th role="rowheader" scope="row">
        <button
          type="button"
          class="name"
          aria-expanded=${isOpen ? "true" : "false"}
          aria-controls=${isOpen ? id : null}
          onClick=${onToggle}
        >
          <${Icon} name="chevron" /><bdi class="clip">${server.name}</bdi>
          <span class="mono muted">${shortPeer(server.peer)}</span>
        </button>
      </th>
      <td role="cell" class="blocks" data-label="Blocks">
        <div class="extent"><span class="mono">${range(server)}</span><${BlockBar} server=${server} blocks=${blocks} /></div>
      </td>
      <td role="cell" data-label="State"><span class="state ${shape}"><${Shape} kind=${shape} />${word}</span></td>
      <td role="cell" class="number" data-label="tok/s">${figure(server.speed)}</td>
      <td role="cell" class="number" data-label="Cache left">${server.cacheTokens === null ? "–" : html`${figure(server.cacheTokens)}<small> tok</small>`}</td>
      <td role="cell" data-label="Path">${server.path}</td>
      <td role="cell" data-label="Version"><span class="clip version">${server.version}</span></td>
    </tr>
    ${isOpen && html`<${Details} server=${server} id=${id} />`}
  `;
}

/** One row per server; on a phone, one card. */
export function ServerTable({ model }) {
  const [order, setOrder] = useState("blocks");
  const [search, setSearch] = useState("");
  const [open, setOpen] = useState(null);
  const sorted = useMemo(() => [...model.servers].sort(ORDERS[order].compare), [model.servers, order]);
  const wanted = search.trim().toLowerCase();
  const shown = sorted.filter((server) =>
    [server.name, server.peer, server.state, server.version].some((text) => text.toLowerCase().includes(wanted)),
  );
  const isLong = model.servers.length >= MIN_SERVERS_TO_SEARCH;
  return html`
    <section class="card servers" aria-labelledby="servers-title">
      <div class="card-head">
        <h2 id="servers-title">Servers</h2>
        <p class="muted" role=${isLong ? "status" : null}>
          ${shown.length === sorted.length ? sorted.length : `${shown.length} of ${sorted.length}`}
        </p>
        ${isLong &&
        html`
          <div class="table-tools">
            <div class="search">
              <${Icon} name="search" />
              <input
                type="search"
                aria-label="Find servers"
                placeholder="Name, peer, state"
                value=${search}
                onInput=${(event) => setSearch(event.currentTarget.value)}
              />
            </div>
            <div class="picker">
              <select aria-label="Order" value=${order} onChange=${(event) => setOrder(event.currentTarget.value)}>
                ${Object.entries(ORDERS).map(([name, { label }]) => html`<option key=${name} value=${name}>${label}</option>`)}
              </select>
              <${Icon} name="chevron" />
            </div>
          </div>
        `}
      </div>
      <table role="table" aria-labelledby="servers-title">
        <thead role="rowgroup">
          <tr role="row">
            <th role="columnheader" scope="col">Name</th>
            <th role="columnheader" scope="col" class="blocks">Blocks</th>
            <th role="columnheader" scope="col">State</th>
            <th role="columnheader" scope="col" class="number">tok/s</th>
            <th role="columnheader" scope="col" class="number">Cache left</th>
            <th role="columnheader" scope="col">Path</th>
            <th role="columnheader" scope="col">Version</th>
          </tr>
        </thead>
        <tbody role="rowgroup">
          ${shown.map(
            (server, index) => html`
              <${Row}
                key=${server.peer}
                server=${server}
                blocks=${model.blocks}
                index=${index}
                isOpen=${open === server.peer}
                onToggle=${() => setOpen(open === server.peer ? null : server.peer)}
              />
            `,
          )}
        </tbody>
      </table>
      ${shown.length === 0 && html`<p class="muted no-match">No server fits “${search}”.</p>`}
    </section>
  `;
}
