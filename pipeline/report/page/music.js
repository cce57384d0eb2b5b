/** The music of a clip on the player's clock: loudness and beats above the dancer's speeds and the lag behind the beat. */

import { bytes, challenges, clips, clipsOf, everyClip, payload } from "report/data";
import { h, table } from "report/dom";
import { count, number, percent, plural, seconds, signed, words } from "report/format";
import { mediaOf } from "report/media";
import { musicDrawing } from "report/music_drawing";

const LINES = ["body", "left_arm", "right_arm", "left_leg", "right_leg", "trunk"];
const UNKNOWN = -32768;
const STRETCH_S = 3; // of the table, where there is no lag
const EDGE_S = 0.5; // by which sound may begin late or end early without a word

const pairs = (base64, Kind) => new Kind(bytes(base64).buffer);

/**
 * The numbers of a clip's entry: seconds, hz, loudness and onsets [0..255], beats [{ at, confidence }]; where somebody
 * dances lines [{ name, top, speed [0: not seen, 1..255], beats [s] }] and lags [{ at, lag, error }], null not known.
 */
export function unpack(entry) {
  const curves = bytes(entry.curves);
  const length = curves.length / (entry.dance ? 2 + LINES.length : 2);
  const curve = (row) => curves.subarray(row * length, (row + 1) * length);
  const confidence = bytes(entry.confidence);
  const beats = Array.from(pairs(entry.beats, Uint16Array), (at, place) => ({ at: at / 100, confidence: confidence[place] / 255 }));
  const sound = { seconds: entry.seconds, hz: entry.hz, loudness: curve(0), onsets: curve(1), beats, lines: [], lags: [] };
  if (!entry.dance) return sound;
  const { top, kinematic, kinematic_counts: counts, lag: packed } = entry.dance;
  const moments = Array.from(pairs(kinematic, Uint16Array), (at) => at / 100);
  let first = 0;
  sound.lines = LINES.map((name, place) => {
    first += counts[place];
    return { name: words(name), top: top[place], speed: curve(2 + place), beats: moments.slice(first - counts[place], first) };
  });
  const values = pairs(packed, Int16Array);
  const windows = values.length / 3;
  const known = (value) => (value === UNKNOWN ? null : value / 1000);
  sound.lags = Array.from({ length: windows }, (_, place) =>
    ({ at: values[place] / 100, lag: known(values[windows + place]), error: known(values[2 * windows + place]) }));
  return sound;
}

/** "0.12 s behind the beat" */
const off = (lag) => `${number(Math.abs(lag))} s ${lag < 0 ? "ahead of" : "behind"} the beat`;

/** Why nothing is heard of the clip; null: something is. */
function silence(clip, entry) {
  const { sound } = payload.data;
  if (!sound) return "The run was made without the sound: nothing is known of the music.";
  if (clips.status[clip] === "failed") return "Nothing is known of its music, for the clip could not be read.";
  const code = clips.without_sound[clip];
  const meaning = sound.codes.find((one) => one.code === code)?.meaning;
  if (code) return `There is no music to show: ${meaning || code}.`;
  return entry ? null : "Nothing is known of its music: it was extracted anew since the run.";
}

const WHY = {
  no_beats: "No beats were found: it may be speech, or music without a clear beat. So nothing can be said of the dancer's time",
  no_pose: "The run was made without the pose modality, so nothing is known of the dancer's time",
  no_dancer: "No dancer was found, so there is nobody to keep to the beat",
  too_short: "The dancer is seen for too short a time while there is music",
};

const usualLag = (clip) => payload.challenges[clips.challenge[clip]].usual_lag;

function lagInWords(clip, { clip_lag: lag, clip_lag_error: error, period, certain }) {
  const against = usualLag(clip) ? "against the challenge's usual lag" : "against the beat itself, for no other clip tells what is usual";
  if (lag == null) return "not known: the motion follows the beat too loosely to tell";
  const within = Math.abs(lag) <= 2 * error ? ", which may be zero" : "";
  const half = !certain && Math.abs(Math.abs(lag) - period / 2) < 2 * error ? " So near to half a beat, late may as well be early." : "";
  return `${off(lag)}, ± ${number(error)} s, ${against}${within}.${half}`;
}

function beatInWords({ clip_lag: lag, certain, period }) {
  if (lag == null) return null;
  return certain
    ? "settled by other clips of the challenge, which put the same poses on the same beats"
    : `not settled: the dancer may be off by whole beats (${number(period)} s each), and other clips do not tell`;
}

function company(clip) {
  const track = clips.same_sound[clip];
  const others = track == null ? [] : everyClip().filter((one) => one !== clip && clips.same_sound[one] === track);
  if (!others.length) return "in no other clip of this report";
  const here = clipsOf(clips.challenge[clip]).filter((one) => others.includes(one)).length;
  const all = others.length === 1 ? ", of this challenge" : ", all of this challenge";
  const where = challenges.length < 2 ? "" : here === others.length ? all : `, ${count(here)} of them of this challenge`;
  return `in ${plural(others.length, "other clip")}${where}`;
}

function facts(clip, entry) {
  const { tempo, tempo_confidence: sure, heard, dance, why } = entry;
  const late = heard[0] > EDGE_S || heard[1] < entry.seconds - EDGE_S;
  const known = [
    ["Tempo", tempo ? `${number(tempo, 0)} beats a minute, confidence ${percent(sure)}` : "none was found"],
    dance ? ["Keeps to the beat", dance.strength == null ? "not known"
      : `${percent(dance.strength)} (multiple correlation of the limbs' speeds with the beat; 0 %: not at all)`] : null,
    dance ? ["Lag", lagInWords(clip, dance)] : ["Lag", WHY[why]],
    dance && beatInWords(dance) ? ["Which beat", beatInWords(dance)] : null,
    ["The same track", company(clip)],
    late ? ["Sound", `the file has some from ${seconds(heard[0])} to ${seconds(heard[1])} only`] : null,
  ].filter(Boolean);
  return h("dl", { class: "facts" }, known.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

/** The drawing's numbers: a row a window of the lag, or a stretch of STRETCH_S where there is none. */
function numbers({ beats, lines, lags, ...sound }, shown) {
  const windows = lags.length ? lags.map((one) => ({ ...one, from: one.at - STRETCH_S / 2 }))
    : Array.from({ length: Math.ceil(shown / STRETCH_S) }, (_, place) => ({ from: place * STRETCH_S }));
  const rows = windows.map(({ from, lag, error }) => {
    const start = Math.max(0, from);
    const inside = (at) => at >= start && at < from + STRETCH_S;
    const heard = beats.filter((beat) => inside(beat.at));
    const mean = heard.length ? heard.reduce((sum, beat) => sum + beat.confidence, 0) / heard.length : null;
    const loudness = sound.loudness.subarray(Math.round(start * sound.hz), Math.round((from + STRETCH_S) * sound.hz));
    return [`${seconds(start)} to ${seconds(Math.min(shown, from + STRETCH_S))}`,
      percent(loudness.reduce((sum, one) => sum + one, 0) / 255 / Math.max(1, loudness.length)), heard.map((beat) => number(beat.at)).join(", ") || "none", percent(mean),
      ...(lines.length ? [lines[0].beats.filter(inside).map((at) => number(at)).join(", ") || "none", signed(lag), number(error)] : [])];
  });
  const head = ["stretch", "loudness", "beats of the music, s", "confidence", ...(lines.length ? ["beats of the body, s", "lag, s", "±, s"] : [])];
  return h("details", {}, h("summary", {}, "The drawing's numbers"), table("Music over time", head, rows));
}

const KEYS = [["quiet", "loudness"], ["accent", "onsets (the jagged line), speeds, lag with its standard deviation"],
  ["ink", "beats of the music, the taller the surer"], ["against", "beats of the motion: the limb comes to rest or turns"]];

/**
 * The section, and what moves in it: { element, moving }. moving: { element, seconds, draw(moment) } or null.
 *
 * length: seconds of the clip that are played, 0 where nothing else moves; seek(moment): goes there.
 */
export function musicSection(clip, length, seek) {
  const entry = mediaOf(clip)?.music ?? null;
  const why = silence(clip, entry);
  const section = (...children) => h("section", { class: "music" }, h("h2", {}, "Music"), children);
  if (why) return { element: section(h("p", {}, why)), moving: null };
  const sound = unpack(entry);
  const shown = length || sound.seconds;
  if (!shown) return { element: section(facts(clip, entry)), moving: null };
  const drawing = musicDrawing(sound, usualLag(clip) ? "the challenge's usual" : "the beat", shown, seek);
  const keys = KEYS.slice(0, sound.lines.length ? 4 : 3).map(([name, text], place) =>
    h("span", { "--key": `var(--${name})` }, place === 1 && !sound.lines.length ? "onsets (the jagged line)" : text));
  return {
    element: section(facts(clip, entry),
      sound.lines.length ? h("label", { class: "tick no-print" }, h("input", { type: "checkbox", onchange: (event) => drawing.showLimbs(event.target.checked) }), "Each limb's speed") : null,
      drawing.element, h("p", { class: "legend" }, keys), numbers(sound, shown),
      h("p", { class: "quiet" }, "This page holds no sound: of voices and music only these curves and moments are left.")),
    moving: drawing,
  };
}
