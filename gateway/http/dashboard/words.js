// Numbers in words for people. Pure: nothing here knows the page.

const POWERS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** What is shown where there is nothing to show. */
export const NONE = "–";

/** Bytes with a unit, in three digits or so. */
export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  let power = 0;
  while (value >= 1024 && power < POWERS.length - 1) {
    value /= 1024;
    power += 1;
  }
  const digits = power === 0 || Number.isInteger(value) || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${POWERS[power]}`;
}

/** A count, grouped by thousands. */
export function count(value) {
  return Math.round(value).toLocaleString("en");
}

/** A rate, with a digit more where it is small. */
export function rate(value) {
  return value > 0 && value < 10 ? value.toFixed(1) : count(value);
}

/** Seconds, from microseconds to days. */
export function seconds(value) {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0 s";
  if (value < 0.001) return `${(value * 1e6).toFixed(0)} µs`;
  if (value < 1) return `${Number((value * 1000).toPrecision(2))} ms`;
  if (value < 60) return `${Number(value.toFixed(value < 10 ? 1 : 0))} s`;
  const whole = Math.floor(value);
  const [days, hours, minutes] = [
    Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60,
  ];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return `${minutes} min ${whole % 60} s`;
}

/** A quantile as `quantile` of figures.js gives it. */
export function latency(found) {
  if (found === null) return NONE;
  const sign = { most: "≤ ", least: "> ", about: "" }[found.kind];
  return sign + seconds(found.seconds);
}

/** A ratio from 0 to 1; null if there is none. */
export function percent(value) {
  if (value === null) return NONE;
  const shown = value * 100;
  // Not "100 %" for what is less, nor "0 %" for what is more.
  if (shown > 99 && shown < 100) return `${(Math.floor(shown * 10) / 10).toFixed(1)} %`;
  return `${shown.toFixed(shown > 0 && shown < 10 ? 1 : 0)} %`;
}

/** Dollars, with the digits that small sums need. */
export function dollars(value) {
  if (value === null) return NONE;
  if (value === 0) return "$0";
  if (value < 0.0001) return "< $0.0001";
  return `$${value.toFixed(value < 1 ? 4 : 2)}`;
}

/** The time of day of seconds since 1970; "never" for 0. */
export function moment(value) {
  return value ? new Date(value * 1000).toLocaleTimeString("en-GB") : "never";
}
