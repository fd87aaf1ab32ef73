// A browser page that notices what a person would not: policy violations, errors, and requests to other hosts.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const CHROMIUM = process.env.PAGE_CHROMIUM ?? "/usr/bin/chromium-headless-shell";
const axeSource = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Longer than anything here takes, on a machine that does other things, too. */
export const PATIENCE_MS = 20_000;

export const launch = () =>
  chromium.launch({ executablePath: CHROMIUM, args: ["--js-flags=--expose-gc", "--disable-dev-shm-usage"] });

export class Tab {
  problems = [];

  static async open(browser, url, { path = "", key = null, ...options } = {}) {
    const tab = new Tab();
    tab.context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    tab.context.setDefaultTimeout(PATIENCE_MS);
    tab.page = await tab.context.newPage();
    const { host } = new URL(url);
    await tab.page.exposeBinding("reportViolation", (_, text) => tab.problems.push(`policy: ${text}`));
    await tab.page.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        globalThis.reportViolation(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
      });
    });
    if (key !== null) await tab.page.addInitScript((value) => sessionStorage.setItem("swarm.key", value), key);
    tab.page.on("pageerror", (error) => tab.problems.push(`error: ${error.stack}`));
    tab.page.on("console", (message) => {
      // The browser reports refused requests here; the tests that cause them look at what the page says.
      const isRefusal = message.text().startsWith("Failed to load resource");
      if (["error", "warning"].includes(message.type()) && !isRefusal) tab.problems.push(`console: ${message.text()}`);
    });
    tab.page.on("request", (request) => {
      const target = new URL(request.url());
      if (!["blob:", "data:"].includes(target.protocol) && target.host !== host) {
        tab.problems.push(`request to another host: ${request.url()}`);
      }
    });
    await tab.page.goto(url + path);
    return tab;
  }

  /** Ends the test's page, and the test if anything was amiss. */
  async close() {
    await this.context.close();
    assert.deepEqual(this.problems, []);
  }

  async expectText(text) {
    await this.page.getByText(text).first().waitFor();
  }

  /** Waits until the header tells this of the link to the gateway. */
  async expectLink(word) {
    await this.page.locator(".link .word", { hasText: word }).waitFor({ state: "attached" });
  }

  /** Waits until the function, run in the page, returns something true. */
  until(condition, argument) {
    return this.page.waitForFunction(condition, argument, { timeout: PATIENCE_MS });
  }

  /** Rules of WCAG 2.2 A and AA and axe's own best practices: none may be violated. */
  async expectAccessible(where) {
    await this.page.evaluate(axeSource);
    const violations = await this.page.evaluate(async () => {
      const { violations } = await globalThis.axe.run(document, { resultTypes: ["violations"] });
      return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 3).map((node) => `${node.html} ${node.failureSummary}`).join(" | ")}`);
    });
    assert.deepEqual(violations, [], where);
  }

  /** Nothing reaches beyond the window's right edge. */
  async expectNoSidewaysScroll(where) {
    const overflow = await this.page.evaluate(() => {
      const wide = document.documentElement.clientWidth;
      const clips = (element) => getComputedStyle(element).overflowX !== "visible";
      const isClipped = (element) => {
        for (let above = element.parentElement; above !== document.body; above = above.parentElement) {
          if (clips(above) && above.getBoundingClientRect().right <= wide) return true;
        }
        return false;
      };
      const found = [...document.querySelectorAll("body *")].filter(
        (element) => element.getBoundingClientRect().right > wide + 0.5 && !isClipped(element),
      );
      const names = found.slice(0, 5).map((element) => `${element.tagName}.${element.className}`);
      return document.documentElement.scrollWidth > wide || names.length > 0
        ? { scrollWidth: document.documentElement.scrollWidth, wide, names }
        : null;
    });
    assert.equal(overflow, null, where);
  }
}
