// Pictures of the page's states, for people to look at: `screenshots.mjs FOLDER [STATE…]`.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { MockGateway } from "./mock.mjs";
import { Tab, launch } from "./page.mjs";
import { STATES, scriptFor } from "./states.mjs";

const SIZES = { 1280: { width: 1280, height: 800 }, 320: { width: 320, height: 640 } };
/** Taller pictures say no more. */
const MAX_HEIGHT = 2600;

/** Tells the page of answers while its clock runs through ten minutes, so that its charts show something. */
async function answerForTenMinutes(tab, mock) {
  await tab.page.clock.install({ time: Date.now() - 600_000 });
  await tab.page.reload();
  await tab.expectLink("Live");
  for (let step = 0; step < 22; step += 1) {
    const wave = Math.sin(step / 2.6);
    const speed = 6 + wave + (step % 3) * 0.2;
    mock.emit("route", { id: `r${step}`, tokens_per_second: speed, ttft_ms: 800 - 220 * wave + (step % 4) * 60 });
    await tab.page.clock.runFor(26_000);
  }
  mock.emitTopology();
  await tab.page.clock.runFor(2000);
}

async function photograph(browser, mock, name, colorScheme, size) {
  const state = STATES[name];
  const viewport = SIZES[size];
  mock.reset();
  mock.script = scriptFor(state);
  const tab = await Tab.open(browser, mock.url, { viewport, colorScheme, reducedMotion: "reduce", path: state.path });
  await state.reach(tab, mock);
  if (name === "swarm") await answerForTenMinutes(tab, mock);
  // The chat is made for the window: its message field stays at the foot.
  const isChat = state.path === undefined;
  const height = isChat ? 0 : await tab.page.evaluate(() => document.documentElement.scrollHeight);
  await tab.page.setViewportSize({ ...viewport, height: Math.min(Math.max(height, viewport.height), MAX_HEIGHT) });
  await tab.page.screenshot({ path: join(folder, `${name}-${size}-${colorScheme}.png`) });
  await tab.close();
}

const [folder, ...wanted] = process.argv.slice(2);
await mkdir(folder, { recursive: true });
const mock = await new MockGateway().listen();
const browser = await launch();
for (const name of wanted.length > 0 ? wanted : Object.keys(STATES)) {
  for (const size of Object.keys(SIZES)) {
    for (const colorScheme of ["light", "dark"]) await photograph(browser, mock, name, colorScheme, size);
  }
}
await browser.close();
await mock.close();
