// What counters mean: rates, latencies, ratios and money. Pure: nothing here knows the page.

/** Seconds over which rates and latencies are taken, and that are kept. */
export const RATE_SECONDS = 5;
export const LATENCY_SECONDS = 60;
export const KEPT_SECONDS = 120;

/** Kinds of requests, in the order in which they are shown. */
export const KINDS = [
  "read", "write", "write_zeroes", "trim", "flush", "cache", "block_status", "refused",
];

/** Those that change a disk. */
export const CHANGES = ["write", "write_zeroes", "trim"];

/** Dollars per million requests: S3 Standard, us-east-1. */
export const S3_STANDARD = { put: 5, get: 0.4 };

/** Summaries of the last minutes, the oldest first, all of one run of the gateway. */
export class History {
  constructor() {
    this.samples = [];
  }

  /** Take a summary as /v1/summary has it. A gateway that was started anew counts from zero. */
  add(summary) {
    const last = this.samples.at(-1);
    if (last && (last.started !== summary.started || last.time > summary.time)) this.samples = [];
    const exports = new Map(summary.exports.map((one) => [one.name, one]));
    this.samples.push({ time: summary.time, started: summary.started, exports });
    while (this.samples[0].time < summary.time - KEPT_SECONDS) this.samples.shift();
  }

  get last() {
    return this.samples.at(-1);
  }

  /** The newest sample that is at least so many seconds old, else the oldest. */
  before(seconds) {
    const until = this.last.time - seconds + 0.5;
    return this.samples.findLast((one) => one.time <= until) ?? this.samples[0];
  }
}

/**
 * How fast a counter grows, per second.
 *
 * `pick` reads it of an export; `name` says of which, or null for all together.
 */
export function growth(earlier, later, name, pick) {
  const passed = later.time - earlier.time;
  if (passed <= 0) return 0;
  let grown = 0;
  for (const [key, now] of name === null ? later.exports : [[name, later.exports.get(name)]]) {
    const then = earlier.exports.get(key);
    // An export that is new, or was closed and opened, counts from here on.
    if (now && then) grown += Math.max(pick(now) - pick(then), 0);
  }
  return grown / passed;
}

/** Reads `exported.requests` or `exported.bytes` of these kinds together. */
export function counter(what, kinds) {
  return (exported) => sum(kinds.map((kind) => exported[what][kind] ?? 0));
}

/** The sum of numbers. */
export function sum(numbers) {
  return numbers.reduce((total, one) => total + one, 0);
}

/** How many requests of these kinds were answered within each bound, between two samples. */
export function answered(earlier, later, name, kinds) {
  const buckets = [];
  for (const [key, now] of name === null ? later.exports : [[name, later.exports.get(name)]]) {
    const then = earlier.exports.get(key);
    if (!now || !then) continue;
    for (const kind of kinds) {
      (now.latency[kind] ?? []).forEach((number, index) => {
        const more = Math.max(number - (then.latency[kind]?.[index] ?? 0), 0);
        buckets[index] = (buckets[index] ?? 0) + more;
      });
    }
  }
  return buckets;
}

/**
 * A quantile of a histogram, interpolated within its bucket.
 *
 * Returns null if there is nothing, else seconds and a kind: "about", or
 * "most" and "least" in the first and last bucket, of which no more is known.
 */
export function quantile(bounds, buckets, q) {
  const rank = sum(buckets) * q;
  if (rank === 0) return null;
  let below = 0;
  for (let index = 0; index < buckets.length; index += 1) {
    if (below + buckets[index] >= rank && buckets[index] > 0) {
      if (index === 0) return { kind: "most", seconds: bounds[0] };
      if (index >= bounds.length) break;
      const [low, high] = [bounds[index - 1], bounds[index]];
      return { kind: "about", seconds: low + (high - low) * ((rank - below) / buckets[index]) };
    }
    below += buckets[index];
  }
  return { kind: "least", seconds: bounds.at(-1) };
}

/** Hits of all lookups in a cache, "memory" or "disk", from 0 to 1; null if there were none. */
export function hitRatio(storage, cache) {
  const hits = storage.cache_hits?.[cache] ?? 0;
  const misses = storage.cache_misses?.[cache] ?? 0;
  return hits + misses === 0 ? null : hits / (hits + misses);
}

/** Requests to the object store by verb, with those that failed apart; null without a store. */
export function storeRequests(storage) {
  if (!storage.s3_requests) return null;
  const found = { put: 0, list: 0, get: 0, head: 0, delete: 0, failed: 0 };
  for (const [verb, codes] of Object.entries(storage.s3_requests)) {
    found[verb] = sum(Object.values(codes));
    found.failed += (codes.transient ?? 0) + (codes.garbled ?? 0) + (codes.failed ?? 0)
      + (codes.refused ?? 0);
  }
  return found;
}

/** Dollars for requests, at prices per million; DELETE is free. */
export function cost(requests, prices) {
  const { put, list, get, head } = requests;
  return ((put + list) * prices.put + (get + head) * prices.get) / 1e6;
}
