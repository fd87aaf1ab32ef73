// Drawn by hand on a grid of 16. They always stand beside or inside something that has a name.

import { html } from "./vendor/htm-preact.js";

const PATHS = {
  settings: "M2.5 4.5h6M12 4.5h1.5M2.5 11.5H4M7.5 11.5h6M10.25 2.75v3.5M5.75 9.75v3.5",
  save: "M8 2.5v7.5M4.75 7 8 10.25 11.25 7M2.75 13.25h10.5",
  plus: "M8 3v10M3 8h10",
  send: "M8 13V3.25M3.75 7.25 8 3l4.25 4.25",
  copy: "M5.75 5.75h7.5v7.5h-7.5zM10.25 5.5V2.75h-7.5v7.5H5.5",
  check: "m3 8.5 3.25 3.25L13 5",
  retry: "M13 8a5 5 0 1 1-1.6-3.67M13 2.5v3h-3",
  close: "m4 4 8 8M12 4l-8 8",
  chevron: "m4.5 6.5 3.5 3.5 3.5-3.5",
  key: "M7.5 9.5 13 4M10.75 6.25l1.75 1.75M5.25 13.25a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5z",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM10.4 10.4 13.5 13.5",
};

export const Icon = ({ name }) => html`
  <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false"><path d=${PATHS[name]} /></svg>
`;

export const StopIcon = () => html`
  <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
    <rect class="filled" x="4" y="4" width="8" height="8" rx="1.5" />
  </svg>
`;

export const Logo = () => html`
  <svg class="logo" viewBox="0 0 32 24" aria-hidden="true" focusable="false">
    <rect x="1" y="6" width="8.5" height="12" rx="2.75" />
    <rect x="11.75" y="2" width="8.5" height="20" rx="2.75" />
    <rect x="22.5" y="6" width="8.5" height="12" rx="2.75" />
  </svg>
`;

/** A state's shape, so that it can be told without its colour. */
const SHAPES = {
  good: html`<circle class="filled" cx="6" cy="6" r="4" />`,
  part: html`<circle cx="6" cy="6" r="3.5" /><path class="filled" d="M6 2.5a3.5 3.5 0 0 1 0 7z" />`,
  warn: html`<path class="filled" d="M6 1.5 11 10.5H1z" />`,
  bad: html`<path d="m2.5 2.5 7 7M9.5 2.5l-7 7" />`,
  none: html`<circle cx="6" cy="6" r="3.5" />`,
};

export const Shape = ({ kind }) => html`
  <svg class="shape ${kind}" viewBox="0 0 12 12" aria-hidden="true" focusable="false">${SHAPES[kind]}</svg>
`;
