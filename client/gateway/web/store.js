// One state for the whole page. Views read it; a change is drawn with the next frame, however many came.

export class Store {
  #listeners = new Set();
  #isScheduled = false;

  constructor(state) {
    this.state = state;
  }

  set(change) {
    this.state = { ...this.state, ...change };
    this.touch();
  }

  /** For what changes inside, such as a conversation. */
  touch() {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    // Frames stop in a hidden tab, and the page must not fall behind there.
    const later = document.hidden ? (draw) => setTimeout(draw, 250) : requestAnimationFrame;
    later(() => {
      this.#isScheduled = false;
      for (const listener of this.#listeners) listener();
    });
  }

  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
