// What goes into a request besides the messages. Empty means: as the model's makers recommend.

const NAME = "swarm.settings";

/** Number fields: name in the request, label, range, and one line of help. */
export const NUMBERS = [
  { name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.1, help: "0 always takes the likeliest token." },
  { name: "top_p", label: "Top p", min: 0.05, max: 1, step: 0.05, help: "Picks among the likeliest this share." },
  { name: "max_tokens", label: "Longest answer, in tokens", min: 1, max: 131072, step: 1, help: "Empty: what fits." },
  { name: "seed", label: "Seed", min: 0, max: 4294967295, step: 1, help: "The same seed repeats an answer." },
];

export class Settings {
  system = "";
  values = {};

  /** From this tab's last visit. */
  static restore() {
    const settings = new Settings();
    try {
      const kept = JSON.parse(sessionStorage.getItem(NAME) ?? "{}");
      settings.system = String(kept.system ?? "");
      for (const { name } of NUMBERS) settings.change(name, kept.values?.[name] ?? "");
    } catch {
      sessionStorage.removeItem(NAME);
    }
    return settings;
  }

  /** Takes a field's text; what is not a number in its range counts as empty. */
  change(name, text) {
    const field = NUMBERS.find((known) => known.name === name);
    const value = String(text).trim() === "" ? Number.NaN : Number(text);
    const isWhole = field.step !== 1 || Number.isInteger(value);
    if (value >= field.min && value <= field.max && isWhole) this.values[name] = value;
    else delete this.values[name];
  }

  keep() {
    sessionStorage.setItem(NAME, JSON.stringify({ system: this.system, values: this.values }));
  }

  reset() {
    this.system = "";
    this.values = {};
    sessionStorage.removeItem(NAME);
  }

  get changedCount() {
    return Object.keys(this.values).length + (this.system.trim() === "" ? 0 : 1);
  }

  forRequest() {
    return { ...this.values };
  }
}
