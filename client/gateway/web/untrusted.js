// Peers choose their names, versions and adapters, and a model's name may come from the network as well. They are
// shown as text and pasted into commands only through here.

const MAX_NAME_CHARS = 80;

/** Controls, and format characters that turn text around or hide it. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Zl}\p{Zp}]+/gu;
/** A letter takes one or two marks in any language; towers of them cover the neighbours. */
const STACKED_MARKS = /(\p{M}{3})\p{M}+/gu;

/** One line of at most 80 characters that looks like what it is. */
export function plainText(value, fallback = "") {
  if (typeof value !== "string" && typeof value !== "number") return fallback;
  const text = String(value).replace(INVISIBLE, "").replace(STACKED_MARKS, "$1").trim();
  const characters = Array.from(text);
  if (characters.length <= MAX_NAME_CHARS) return text || fallback;
  return `${characters.slice(0, MAX_NAME_CHARS - 1).join("")}…`;
}

export function finiteNumber(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** One word of a shell command, whatever it holds. */
export function shellWord(value) {
  const word = String(value).replace(INVISIBLE, "");
  if (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word) && !word.startsWith("-")) return word;
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** A peer's id: letters and digits, or empty when it is none. */
export const peerName = (value) => plainText(value).replace(/[^A-Za-z0-9]/g, "");

/** The last characters tell peers apart; all begin alike. */
export const shortPeer = (peer) => (peer.length > 10 ? `…${peer.slice(-5)}` : peer);
