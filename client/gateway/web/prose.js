// A model's answer as text with its code set apart. Everything becomes text nodes; nothing becomes HTML or a link.

const FENCE = /^\s{0,3}(`{3,}|~{3,})\s*([\w+#.-]*)[^\n]*$/;

/** @returns parts `{ kind: "text" | "code", text, language }` in order; an open fence runs to the end. */
export function splitCode(answer) {
  const parts = [];
  let lines = [];
  let fence = null;
  const close = (kind, language = "") => {
    const text = lines.join("\n");
    if (kind === "code" || text.trim() !== "") parts.push({ kind, text, language });
    lines = [];
  };
  for (const line of answer.split("\n")) {
    const mark = FENCE.exec(line);
    if (fence === null && mark) {
      close("text");
      fence = { mark: mark[1], language: mark[2] };
    } else if (fence !== null && mark && mark[1].startsWith(fence.mark) && line.trim() === mark[1]) {
      close("code", fence.language);
      fence = null;
    } else {
      lines.push(line);
    }
  }
  close(fence === null ? "text" : "code", fence?.language);
  return parts;
}

/** @returns paragraphs of pieces `{ kind: "text" | "code" | "strong", text }`. */
export function paragraphs(text) {
  return text
    .split(/\n{2,}/)
    .map((paragraph) => paragraph.replace(/^\n+|\n+$/g, ""))
    .filter((paragraph) => paragraph.trim() !== "")
    .map(inline);
}

function inline(paragraph) {
  return paragraph
    .split(/(`[^`\n]+`|\*\*[^*\n]+\*\*)/)
    .filter((piece) => piece !== "")
    .map((piece) => {
      if (/^`[^`]+`$/.test(piece)) return { kind: "code", text: piece.slice(1, -1) };
      if (/^\*\*[^*]+\*\*$/.test(piece)) return { kind: "strong", text: piece.slice(2, -2) };
      return { kind: "text", text: piece };
    });
}

/** The end of the last whole sentence of a growing answer, so that a screen reader is fed sentences, not tokens. */
export function sentenceEnd(text, from) {
  let end = from;
  for (const match of text.slice(from).matchAll(/[.!?…:](?=\s)|\n/g)) end = from + match.index + 1;
  return end;
}
