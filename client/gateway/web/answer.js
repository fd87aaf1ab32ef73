// One question or answer of the transcript.

import { html, useMemo } from "./vendor/htm-preact.js";
import { speeds } from "./conversation.js";
import { Icon, Shape } from "./icons.js";
import { CopyButton, count, figure, seconds } from "./parts.js";
import { paragraphs, splitCode } from "./prose.js";
import { plainText, shortPeer } from "./untrusted.js";
import { explain } from "./words.js";

/** Longer routes fold. */
const MAX_HOPS_IN_LINE = 4;

const PIECES = {
  text: (piece) => piece.text,
  code: (piece) => html`<code>${piece.text}</code>`,
  strong: (piece) => html`<strong>${piece.text}</strong>`,
};

export function Prose({ text }) {
  return splitCode(text).map((part) =>
    part.kind === "code"
      ? html`
          <div class="code">
            <div class="code-head"><span>${part.language || "code"}</span><${CopyButton} text=${part.text} /></div>
            <pre tabindex="0" role="region" aria-label=${part.language ? `Code, ${part.language}` : "Code"}><code>${part.text}</code></pre>
          </div>
        `
      : paragraphs(part.text).map((pieces) => html`<p>${pieces.map((piece) => PIECES[piece.kind](piece))}</p>`),
  );
}

export function Question({ message }) {
  return useMemo(
    () => html`
      <li class="question">
        <span class="offscreen">You</span>
        <p>${message.text}</p>
      </li>
    `,
    [message],
  );
}

function Hops({ route, names }) {
  return html`
    <ol class="route" aria-label="Route">
      ${route.map(
        (hop, index) => html`
          <li key=${index}>
            <span class="blocks">${hop.blocks}</span>${" "}<bdi>${names.get(hop.peer) ?? (shortPeer(hop.peer) || "unknown peer")}</bdi>
          </li>
        `,
      )}
    </ol>
  `;
}

function Route({ route, names }) {
  if (route.length === 0) return null;
  if (route.length <= MAX_HOPS_IN_LINE) return html`<${Hops} route=${route} names=${names} />`;
  return html`
    <details class="folded">
      <summary>${count(route.length, "server")}</summary>
      <${Hops} route=${route} names=${names} />
    </details>
  `;
}

/** Route and speed, under an answer. */
function Account({ answer, state }) {
  const { firstToken, speed, isMeasured } = speeds(answer);
  const names = useMemo(() => {
    const servers = state.topology?.models.flatMap((model) => model.servers) ?? [];
    return new Map(servers.map((server) => [server.peer, server.name]));
  }, [state.topology]);
  const tokens = answer.tokens;
  return html`
    <div class="account">
      ${answer.account && html`<${Route} route=${answer.account.route} names=${names} />`}
      <dl class="figures">
        ${firstToken !== null && html`<div><dt>first token</dt><dd>${seconds(firstToken)}</dd></div>`}
        ${speed !== null &&
        html`<div><dt class="offscreen">speed</dt><dd>${isMeasured ? "" : "about "}${figure(speed)} tok/s</dd></div>`}
        ${tokens !== null && html`<div><dt class="offscreen">length</dt><dd>${count(tokens, "token")}</dd></div>`}
        ${answer.account?.failovers > 0 &&
        html`<div class="failover">
          <dt class="offscreen">failovers</dt>
          <dd>${count(answer.account.failovers, "server")} replaced on the way</dd>
        </div>`}
      </dl>
    </div>
  `;
}

function Failure({ error, onRetry, isPartial }) {
  const { what, help, detail, canRetry } = explain(error);
  return html`
    <div class="failure" role="alert">
      <${Shape} kind="warn" />
      <div>
        <p><strong>${what}</strong> ${" "}${help}</p>
        ${detail !== "" && html`<p class="muted detail">${plainDetail(detail)}</p>`}
        ${canRetry &&
        html`<button type="button" class="secondary" disabled=${onRetry === null} onClick=${onRetry}>
          <${Icon} name="retry" />${isPartial ? "Retry from the question" : "Retry"}
        </button>`}
      </div>
    </div>
  `;
}

/** The gateway's own sentence, which may quote names of the network. */
const plainDetail = (detail) => detail.split(/(\s+)/).map((word) => (/\s/.test(word) ? " " : plainText(word))).join("");

const ENDINGS = {
  length: "The answer reached its longest length.",
  content_filter: "The gateway cut the answer.",
};

export function Answer({ answer, state, isLast, onRetry }) {
  const isRunning = answer.state === "waiting" || answer.state === "streaming";
  const prose = useMemo(() => html`<${Prose} text=${answer.text} />`, [answer.text]);
  const ending = answer.state === "stopped" ? "You stopped the answer." : (ENDINGS[answer.finish] ?? null);
  return html`
    <li class="answer" aria-busy=${isRunning ? "true" : null}>
      <p class="speaker">${plainText(answer.model)}</p>
      <div class="prose ${answer.state}">
        ${prose}
        ${answer.state === "waiting" && html`<p class="waiting"><span class="dots"><i /><i /><i /></span><span class="offscreen">Waiting for the first token</span></p>`}
      </div>
      ${answer.state === "failed" &&
      html`<${Failure} error=${answer.error} onRetry=${isLast ? onRetry : null} isPartial=${answer.text !== ""} />`}
      ${ending !== null && !isRunning && html`<p class="muted ending">${ending}</p>`}
      ${answer.firstAt !== null && html`<${Account} answer=${answer} state=${state} />`}
      ${!isRunning &&
      answer.state !== "failed" &&
      html`
        <div class="tools">
          <${CopyButton} text=${answer.text} label="Copy" />
          ${isLast &&
          html`<button type="button" class="quiet" disabled=${onRetry === null} onClick=${onRetry}>
            <${Icon} name="retry" /><span>Ask again</span>
          </button>`}
        </div>
      `}
    </li>
  `;
}
