// Speeds of the last ten minutes, for the charts.

import { finiteNumber } from "./untrusted.js";

export const WINDOW_MS = 600_000;
/** One a second for ten minutes; older ones go first. */
const MAX_POINTS = 600;

export class Measurements {
  /** Oldest first: `{ at, speed, firstToken, id }`, tokens per second and seconds. */
  points = [];

  /** Takes the gateway's account of an answer; the same answer told twice counts once. */
  add({ id, tokens_per_second: speed, ttft_ms: firstToken }, at = Date.now()) {
    const point = {
      at,
      id: id ?? null,
      speed: finiteNumber(speed),
      firstToken: finiteNumber(firstToken) === null ? null : firstToken / 1000,
    };
    if (point.speed === null && point.firstToken === null) return;
    const isKnown = point.id !== null && this.points.some((known) => known.id === point.id);
    if (isKnown) return;
    this.points.push(point);
    this.prune(at);
  }

  prune(now = Date.now()) {
    const fresh = this.points.filter((point) => point.at > now - WINDOW_MS);
    this.points = fresh.slice(-MAX_POINTS);
  }
}
