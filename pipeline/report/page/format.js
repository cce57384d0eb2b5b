/** Numbers and times as people read them; a dash for what is not known. */

export const NOTHING = "–";

export const percent = (value) => (value == null ? NOTHING : `${Math.round(100 * value)} %`);

export const number = (value, digits = 2) => (value == null ? NOTHING : value.toFixed(digits).replace("-", "−"));

export const signed = (value, digits = 2) => (value > 0 ? "+" : "") + number(value, digits);

export const count = (value) => (value == null ? NOTHING : value.toLocaleString("en"));

export const plural = (value, noun) => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;

/** 2024-06-30T18:00:00Z -> 2024-06-30 */
export const day = (time) => (time == null ? NOTHING : time.slice(0, 10));

export const seconds = (value) => `${value.toFixed(1)} s`;

/** left_wrist -> left wrist */
export const words = (name) => name.replaceAll("_", " ");

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
