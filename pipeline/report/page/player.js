/** Plays several clips on one clock: each panel draws itself at a moment; together they loop. */

import { h } from "report/dom";
import { seconds } from "report/format";

const STEP_S = 0.1; // of the slider and the arrow keys

const still = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * panels: [{ seconds (its length), draw(moment) }]. stretches: [{ start_s, end_s }] to mark on the time line. Returns
 * { element, stop(), jump(moment), seek(moment) }. Starts at once, unless the system asks for less motion.
 */
export function player(panels, stretches) {
  const length = Math.max(...panels.map((panel) => panel.seconds));
  const state = { moment: 0, last: null, request: 0 };
  const button = h("button", { type: "button", class: "main", onclick: () => (state.request ? pause() : play()) });
  const slider = h("input", { type: "range", min: 0, max: length, step: STEP_S, value: 0, "aria-label": "Moment, in seconds",
    oninput: () => {
      pause();
      at(Number(slider.value));
    } });
  const clock = h("output", {});
  const redraw = () => at(state.moment);
  const resized = new ResizeObserver(redraw);

  function at(moment) {
    state.moment = moment;
    for (const panel of panels) panel.draw(Math.min(moment, panel.seconds));
    if (state.request) slider.value = moment;
    clock.textContent = seconds(moment);
  }
  function tick(now) {
    const passed = state.last === null ? 0 : Math.min(0.25, (now - state.last) / 1000);
    state.last = now;
    state.request = requestAnimationFrame(tick);
    at(length ? (state.moment + passed) % length : 0);
  }
  function play() {
    state.last = null;
    state.request = requestAnimationFrame(tick);
    name("Pause");
  }
  function pause() {
    cancelAnimationFrame(state.request);
    state.request = 0;
    name("Play");
  }
  /** Goes to the moment and plays on; stands still where the system asks for less motion and nothing plays. */
  function jump(moment) {
    slider.value = moment;
    at(moment);
    if (!still.matches && !state.request) play();
  }
  /** Goes to the moment and stands still there. */
  function seek(moment) {
    pause();
    slider.value = moment;
    at(moment);
  }
  function name(text) {
    button.textContent = text;
  }
  function stop() {
    pause();
    resized.disconnect();
    document.removeEventListener("themechange", redraw);
  }

  document.addEventListener("themechange", redraw);
  for (const panel of panels) resized.observe(panel.element);
  name("Play");
  if (!still.matches && length) play();
  const marks = stretches.filter((one) => one.start_s < length)
    .map((one) => h("span", { "--start": one.start_s / length, "--end": Math.min(1, one.end_s / length) }));
  const line = h("div", { class: "time" }, marks.length ? h("div", { class: "marks", "aria-hidden": "true" }, marks) : null, slider);
  return { element: h("div", { class: "player" }, button, line, clock), stop, jump, seek };
}
