import { html } from "./vendor/htm-preact.js";

const WHO_SEES = [
  [
    "This browser tab",
    "Holds the conversation, your settings and the key. The conversation is gone when the tab is closed, unless you save it to a file.",
  ],
  [
    "The gateway",
    "Gets your messages and your key, turns text into numbers and numbers back into text. It can read everything. It writes prompts and answers to its log only if its operator has asked for that; then this page says so under the message field.",
  ],
  [
    "The servers on a route",
    "Get hidden states: lists of numbers made from your text, one for every token, and keep some of them while the conversation lasts. They get no text and no key.",
  ],
  ["Other peers of the swarm", "See which servers exist and what these announce. They see nothing of a conversation."],
  ["The network in between", "Links between peers are encrypted. The link from this browser to the gateway is encrypted only if the address of this page begins with https."],
];

export function About({ state }) {
  return html`
    <article class="about">
      <h1>What is sent to whom</h1>
      <p class="lead">
        One model is cut into blocks, and several machines hold a few blocks each. Every token of an answer passes through
        all of them in turn. That is how a model runs that fits on none of them, and it is also why other people's
        machines take part in your conversation.
      </p>
      <dl class="who">${WHO_SEES.map(([who, what]) => html`<div key=${who}><dt>${who}</dt><dd>${what}</dd></div>`)}</dl>
      <h2>Hidden states are not a secret code</h2>
      <p>
        Whoever holds the model, and every server holds a part of it, can turn hidden states back into the text they were
        made from, nearly word for word. Do not send through servers of strangers what you would not show them. In a swarm
        of your own machines this does not arise.
      </p>
      <h2>Nothing here proves an answer</h2>
      <p>
        A server could compute something else than its blocks, by mistake or on purpose, and the answer would still look
        like one. Checks on the way find damaged data, not a wrong computation. Names, versions and speeds in the Swarm
        view are what servers say of themselves.
      </p>
      <h2>What this page does</h2>
      <p>
        It comes from the gateway and talks to nobody else: no other host, no analytics, no cookies. The key and the
        settings stay in this tab's session storage.
      </p>
      <h2>Made with</h2>
      <p class="muted">
        ${state.info?.version ? html`Gateway ${state.info.version}. ` : ""}${" "}
        <a href="assets/vendor/preact.LICENSE">Preact</a>, ${" "}<a href="assets/vendor/htm.LICENSE">htm</a> ${" "}and${" "}
        <a href="assets/vendor/uplot.LICENSE">uPlot</a>; the links lead to their licences.
      </p>
    </article>
  `;
}
