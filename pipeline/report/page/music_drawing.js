/** Draws the music and the motion of a clip over one time axis; where it is pressed or dragged, the player goes. */

import { h, svg } from "report/dom";
import { number, seconds } from "report/format";

const [SIDE, TITLE, GAP] = [8, 17, 8]; // px: left and right; a lane's title above it; between lanes
const [SOUND, BEATS, BODY, LIMB, LAG, AXIS] = [60, 18, 56, 34, 92, 18]; // px: heights
const LEAST_LAG_S = 0.2; // that the lane of the lag reaches to at least
const [STEP_S, LEAP_S] = [0.1, 1]; // of the arrow keys, and of page up and down
const TICKS = [1, 2, 5, 10, 20, 30, 60]; // s
const TICK_PX = 56;

const path = (points) => points.map(([x, y], place) => `${place ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/** Runs of neighbours that are known. */
function runs(values, known) {
  const found = [];
  values.forEach((value, place) => {
    if (!known(value)) return;
    if (place && known(values[place - 1])) found.at(-1).push(place);
    else found.push([place]);
  });
  return found;
}

/** sound: as music.unpack gives it; against: what the lag is behind. Returns { element, seconds, draw(moment), showLimbs(yes) }. */
export function musicDrawing(sound, against, shown, seek) {
  const now = svg("line", { class: "now" });
  const picture = svg("svg", { "aria-hidden": "true", focusable: "false" });
  const summary = `${sound.beats.length} beats of the music${sound.lines.length ? `, ${sound.lines[0].beats.length} of the body` : ""}`;
  const element = h("div", {
    class: "score", role: "slider", tabindex: "0", "aria-label": `Moment in the music: ${summary}. The numbers are in the table below.`,
    "aria-valuemin": 0, "aria-valuemax": shown.toFixed(1), "aria-valuenow": 0, "aria-valuetext": seconds(0),
  }, picture);
  const state = { width: 0, limbs: false, moment: 0, said: "" };
  const x = (at) => SIDE + (state.width - 2 * SIDE) * at / shown;

  function render() {
    const lanes = [];
    let top = 0;
    const lane = (title, height, fill) => {
      lanes.push(svg("text", { x: SIDE, y: top + TITLE - 5 }, title), fill(top + TITLE, height));
      top += TITLE + height + GAP;
    };
    lane("Loudness of the sound, and onsets", SOUND, drawSound);
    top -= GAP;
    lanes.push(drawBeats(top));
    top += BEATS + GAP;
    for (const line of state.limbs ? sound.lines.slice(1) : sound.lines.slice(0, 1)) {
      lane(`Speed of the ${line.name}, up to ${number(line.top, 1)} trunk lengths a second`, state.limbs ? LIMB : BODY, (y, height) => drawSpeed(line, y, height));
    }
    if (sound.lags.length) lane(`Lag behind ${against}`, LAG, drawLag);
    const through = sound.beats.filter((beat) => beat.at <= shown)
      .map((beat) => svg("line", { class: "through", x1: x(beat.at), x2: x(beat.at), y1: TITLE, y2: top }));
    set(picture, { viewBox: `0 0 ${state.width} ${top + AXIS}`, width: state.width, height: top + AXIS });
    set(now, { y1: TITLE, y2: top });
    picture.replaceChildren(...through, ...lanes, drawAxis(top), now);
  }

  function drawSound(y, height) {
    const middle = y + height / 2;
    const along = (curve, place) => [x(place / sound.hz), curve[place] / 255];
    const places = Array.from(sound.loudness, (_, place) => place).filter((place) => place / sound.hz <= shown);
    const edge = (sign) => places.map((place) => along(sound.loudness, place)).map(([at, value]) => [at, middle + sign * Math.max(0.5, value * height / 2)]);
    const onsets = places.map((place) => along(sound.onsets, place)).map(([at, value]) => [at, y + height - value * height]);
    return svg("g", {}, svg("path", { class: "loudness", d: `${path([...edge(-1), ...edge(1).reverse()])}Z` }), svg("path", { class: "onsets", d: path(onsets) }));
  }

  function drawBeats(y) {
    const ticks = sound.beats.filter((beat) => beat.at <= shown).map(({ at, confidence }) =>
      svg("line", { class: "beat", x1: x(at), x2: x(at), y1: y + BEATS, y2: y + BEATS * (1 - Math.max(0.1, confidence)), "data-at": at }));
    return svg("g", {}, ticks);
  }

  function drawSpeed({ name, speed, beats }, y, height) {
    const level = (value) => y + height * (1 - (value - 1) / 254);
    const inside = speed.subarray(0, Math.floor(shown * sound.hz) + 1);
    const areas = runs(Array.from(inside), (value) => value > 0).map((places) => {
      const line = places.map((place) => [x(place / sound.hz), level(inside[place])]);
      const [first, last] = [line[0][0], line.at(-1)[0]];
      return svg("g", {}, svg("path", { class: "under", d: `${path([[first, y + height], ...line, [last, y + height]])}Z` }), svg("path", { class: "speed", d: path(line) }));
    });
    const rests = beats.filter((at) => at <= shown).map((at) =>
      svg("circle", { class: "rest", cx: x(at), cy: level(Math.max(1, speed[Math.round(at * sound.hz)] || 1)), r: 3, "data-at": at }));
    return svg("g", { "data-line": name }, svg("line", { class: "rule", x1: SIDE, x2: state.width - SIDE, y1: y + height, y2: y + height }), areas, rests);
  }

  function drawLag(y, height) {
    const known = sound.lags.filter((one) => one.lag != null && one.at <= shown);
    const most = Math.max(LEAST_LAG_S, ...known.map((one) => Math.abs(one.lag) + Math.min(one.error, LEAST_LAG_S)));
    const level = (lag) => y + height / 2 * (1 - Math.max(-1, Math.min(1, lag / most)));
    const lines = runs(sound.lags, (one) => one.lag != null && one.at <= shown).map((places) => {
      const at = places.map((place) => sound.lags[place]);
      // A single window has a width, too.
      const points = at.length > 1 ? at : [{ ...at[0], at: at[0].at - 0.25 }, { ...at[0], at: at[0].at + 0.25 }];
      const edge = (sign) => points.map((one) => [x(one.at), level(one.lag + sign * one.error)]);
      return svg("g", {}, svg("path", { class: "band", d: `${path([...edge(1), ...edge(-1).reverse()])}Z` }),
        svg("path", { class: "lag", d: path(points.map((one) => [x(one.at), level(one.lag)])), "data-lags": at.map((one) => one.lag).join(" ") }));
    });
    const words = [["late", `+${number(most, 1)} s`, y + 11], ["early", `−${number(most, 1)} s`, y + height - 3]].flatMap(([side, reach, at]) => [
      svg("text", { x: SIDE, y: at }, side), svg("text", { x: state.width - SIDE, y: at, "text-anchor": "end" }, reach)]);
    const nothing = known.length ? null : svg("text", { x: state.width / 2, y: y + height / 2 - 6, "text-anchor": "middle" }, "the motion follows the beat too loosely to tell");
    return svg("g", {}, lines, svg("line", { class: "zero", x1: SIDE, x2: state.width - SIDE, y1: y + height / 2, y2: y + height / 2 }), words, nothing);
  }

  function drawAxis(y) {
    const step = TICKS.find((one) => x(one) - x(0) >= TICK_PX) ?? TICKS.at(-1);
    const marks = Array.from({ length: Math.floor(shown / step + 1e-9) + 1 }, (_, place) => place * step);
    const anchor = (at) => (at === 0 ? "start" : shown - at < step / 4 ? "end" : "middle");
    return svg("g", {}, svg("line", { class: "rule", x1: SIDE, x2: state.width - SIDE, y1: y, y2: y }),
      marks.map((at) => svg("text", { x: x(at), y: y + 13, "text-anchor": anchor(at) }, `${at} s`)));
  }

  function draw(moment) {
    state.moment = moment;
    const width = Math.floor(element.clientWidth);
    if (width && width !== state.width && !matchMedia("print").matches) {
      state.width = width;
      render();
    }
    set(now, { x1: x(moment), x2: x(moment) });
    const said = moment.toFixed(1);
    if (said !== state.said) set(element, { "aria-valuenow": said, "aria-valuetext": seconds(moment) });
    state.said = said;
  }

  function at(event) {
    const { left, width } = picture.getBoundingClientRect();
    const along = ((event.clientX - left) / width * state.width - SIDE) / (state.width - 2 * SIDE);
    seek(shown * Math.max(0, Math.min(1, along)));
  }
  element.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    element.setPointerCapture(event.pointerId);
    at(event);
  });
  element.addEventListener("pointermove", (event) => element.hasPointerCapture(event.pointerId) && at(event));
  element.addEventListener("keydown", (event) => {
    const by = { ArrowRight: STEP_S, ArrowUp: STEP_S, ArrowLeft: -STEP_S, ArrowDown: -STEP_S, PageUp: LEAP_S, PageDown: -LEAP_S, Home: -shown, End: shown }[event.key];
    if (by === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    seek(Math.max(0, Math.min(shown, state.moment + by)));
  });
  return {
    element, draw, seconds: shown,
    showLimbs(yes) {
      state.limbs = yes;
      render();
      draw(state.moment);
    },
  };
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
}
