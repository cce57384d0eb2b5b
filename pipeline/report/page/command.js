/** Shell commands for the next step after the page, and the box that copies one. */

import { payload } from "report/data";
import { announce, h } from "report/dom";

const COPIED_MS = 3000; // for which the button shows the outcome

/** Quoted for a shell where it must be. */
const quoted = (text) => (/^[\w.,=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/**
 * task("Recommend", { "--top": 5, "--new-only": true }) ->
 *   ".venv/bin/luigi --module tasks Recommend --workspace WORKSPACE --run june --top 5 --new-only"
 *
 * WORKSPACE is for the reader to fill in: a page may be passed on, and is not to say where it was made.
 */
export function task(name, options) {
  const all = Object.entries({ "--workspace": "WORKSPACE", "--run": payload.about.name ?? payload.about.run, ...options });
  return [payload.about.luigi, "--module tasks", name, ...all.filter(([, value]) => value !== false).map(([option, value]) => {
    if (value === true) return option;
    // A value with a hyphen in front would be taken for an option itself.
    return `${option}${String(value).startsWith("-") ? "=" : " "}${quoted(String(value))}`;
  })].join(" ");
}

/** The command, to be copied by a button, or selected where the browser does not let a page copy. */
export function commandBox(text) {
  const code = h("code", {}, text);
  const button = h("button", { type: "button", onclick: async () => report(await copied(text) ? "Copied" : selected(code)) }, "Copy");
  let waiting = 0;
  function report(outcome) {
    button.textContent = outcome;
    announce(`${outcome}.`);
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      button.textContent = "Copy";
      announce(""); // so that the next press is announced, too
    }, COPIED_MS);
  }
  return h("div", { class: "command" }, code, button,
    h("p", { class: "quiet" }, "WORKSPACE: the folder or URL that the run lies in. To be run where vdv is installed."));
}

async function copied(text) {
  if (!navigator.clipboard) return false; // a page that came over plain http
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch (error) {
    if (error instanceof DOMException) return false; // the browser does not allow it
    throw error;
  }
}

function selected(element) {
  getSelection().selectAllChildren(element);
  return "Selected, ready to copy";
}
