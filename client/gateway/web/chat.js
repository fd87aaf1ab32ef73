import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact.js";
import { Answer, Question } from "./answer.js";
import { Announcer } from "./announcer.js";
import { Composer, focusMessage } from "./composer.js";
import { Icon } from "./icons.js";
import { ModelPicker, ModelState, isPlainModel, modelFacts } from "./model-picker.js";
import { count } from "./parts.js";
import { SettingsPanel } from "./settings-panel.js";
import { range, summary } from "./topology.js";

/** Closer to the foot than this, the page follows the growing answer. */
const FOLLOW_PX = 120;

const IDEAS = [
  "Explain how one model can run across many machines",
  "Write a short story about a fox and a lantern",
  "Give me three names for a sailing boat, and why",
];

/** For a model that was not made to answer: it goes on with what it is given. */
const BEGINNINGS = [
  "Once upon a time, there was a little fox who",
  "One day, Tom and his dog went to the",
  "The old king had a secret. Every night,",
];

function saveAsFile(conversation) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([conversation.toJson()], { type: "application/json" }));
  link.download = `chat-${new Date().toISOString().slice(0, 16).replaceAll(":", "-")}.json`;
  link.click();
  URL.revokeObjectURL(link.href);
}

/** Keeps the foot of the page in sight while an answer grows, unless the reader has scrolled away. */
function useFollowing(signature) {
  const isFollowing = useRef(true);
  useEffect(() => {
    const onScroll = () => {
      const { scrollHeight } = document.documentElement;
      isFollowing.current = window.scrollY + window.innerHeight > scrollHeight - FOLLOW_PX;
    };
    window.addEventListener("scroll", onScroll, { passive: true });
    return () => window.removeEventListener("scroll", onScroll);
  }, []);
  useLayoutEffect(() => {
    if (isFollowing.current) window.scrollTo(0, document.documentElement.scrollHeight);
  }, [signature]);
  return isFollowing;
}

function Toolbar({ state, store, conversation, settings, onSettings }) {
  const hasMessages = conversation.messages.length > 0;
  return html`
    <div class="toolbar">
      <${ModelPicker}
        models=${state.models ?? []}
        isLoading=${state.models === null}
        isLocked=${conversation.isAnswering}
        value=${state.chosen}
        onChoose=${(chosen) => store.set({ chosen, mapped: null })}
      />
      <${ModelState} state=${state} />
      <div class="tools">
        <button type="button" class="quiet" onClick=${onSettings}>
          <${Icon} name="settings" /><span>Settings</span>
          ${settings.changedCount > 0 &&
          html`<span class="count" aria-label="${count(settings.changedCount, "value")} changed">${settings.changedCount}</span>`}
        </button>
        <button type="button" class="quiet" disabled=${!hasMessages} onClick=${() => saveAsFile(conversation)}>
          <${Icon} name="save" /><span>Save</span>
        </button>
        <button type="button" class="quiet" disabled=${!hasMessages} onClick=${() => conversation.clear()}>
          <${Icon} name="plus" /><span>New chat</span>
        </button>
      </div>
    </div>
  `;
}

/** What stands in the way of an answer, before anything is asked. */
function Obstacle({ state }) {
  if (state.models !== null && state.models.length === 0) {
    return html`
      <div class="notice" role="status">
        <p><strong>No model is being served.</strong> As soon as a server joins, it can be chosen here.</p>
      </div>
    `;
  }
  const seen = state.topology?.models.find((model) => model.rawId === state.chosen);
  if (!seen) return null;
  const { missing } = summary(seen);
  if (missing.length === 0) return null;
  return html`
    <div class="notice bad" role="status">
      <p>
        <strong>This model cannot answer just now.</strong> ${" "}No server holds
        ${" "}${missing.reduce((sum, run) => sum + run.end - run.start, 0)} of its blocks (${missing.slice(0, 4).map(range).join(", ")}${missing.length > 4 ? ", …" : ""}).
        ${" "}<a href="#/swarm">See how to serve them</a>
      </p>
    </div>
  `;
}

function Welcome({ state, onIdea, isReady }) {
  const isPlain = isPlainModel(state);
  const facts = modelFacts(state, state.chosen);
  const servers = facts !== null && facts.covered === facts.blocks ? facts.servers : 0;
  return html`
    <div class="welcome">
      <h1>${state.models === null ? "Looking for models…" : isPlain ? "How does the text begin?" : "What would you like to ask?"}</h1>
      ${servers > 0 &&
      html`<p class="muted">
        ${facts.name} runs on ${count(servers, "server")} of this swarm. Each holds a part of it.
        ${isPlain && html`${" "}It was not made to answer questions: it goes on with what you write.`}
      </p>`}
      <ul class="ideas">
        ${(isPlain ? BEGINNINGS : IDEAS).map(
          (idea) => html`
            <li key=${idea}><button type="button" disabled=${!isReady} onClick=${() => onIdea(idea)}>${idea}</button></li>
          `,
        )}
      </ul>
    </div>
  `;
}

export function Chat({ state, store, live, conversation, settings }) {
  const [isSetting, setSetting] = useState(false);
  const { messages, isAnswering } = conversation;
  const last = messages.at(-1);
  const isFollowing = useFollowing(`${messages.length} ${last?.text.length} ${last?.state}`);
  const isReady = state.chosen !== null && !isAnswering;

  const watch = async (answer) => {
    isFollowing.current = true;
    const { error } = (await answer) ?? {};
    if (error?.needsKey) store.set({ needsKey: true, keyWasWrong: true, link: "locked" });
  };
  const send = (text) => watch(conversation.send(text, state.chosen, settings));
  const retry = () => {
    watch(conversation.retry(state.chosen, settings));
    focusMessage();
  };

  useEffect(() => {
    const onKey = (event) => {
      if (event.key === "Escape" && conversation.isAnswering && !document.querySelector("dialog[open]")) {
        conversation.stop();
      }
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);

  return html`
    <${Toolbar} ...${{ state, store, conversation, settings }} onSettings=${() => setSetting(true)} />
    ${messages.length === 0
      ? html`<${Welcome} state=${state} onIdea=${send} isReady=${isReady} />`
      : html`<h1 class="offscreen">Chat</h1>`}
    ${messages.length > 0 &&
    html`
      <ol class="transcript" aria-label="Conversation">
        ${messages.map((message) =>
          message.role === "user"
            ? html`<${Question} key=${message.id} message=${message} />`
            : html`<${Answer}
                key=${message.id}
                answer=${message}
                state=${state}
                isLast=${message === last}
                onRetry=${isAnswering ? null : retry}
              />`,
        )}
      </ol>
    `}
    <${Announcer} answer=${last?.role === "assistant" ? last : null} />
    <div class="foot">
      <${Obstacle} state=${state} />
      <${Composer} ...${{ state, conversation, isReady }} onSend=${send} />
    </div>
    <${SettingsPanel} ...${{ store, live, settings, isOpen: isSetting }} onClose=${() => setSetting(false)} />
  `;
}
