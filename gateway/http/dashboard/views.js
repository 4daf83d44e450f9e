// What of a summary is shown where, in words.

import {
  CHANGES, KINDS, LATENCY_SECONDS, RATE_SECONDS, answered, cost, counter, growth, hitRatio,
  quantile, storeRequests, sum,
} from "./figures.js";
import * as words from "./words.js";

/** Seconds in 30 days, and of running after which they are told ahead. */
const [MONTH, WORTH_TELLING] = [30 * 86400, 60];

const per = (history, name, what, kinds) =>
  growth(history.before(RATE_SECONDS), history.last, name, counter(what, kinds));

function took(history, name, kinds, bounds, q) {
  const buckets = answered(history.before(LATENCY_SECONDS), history.last, name, kinds);
  return words.latency(quantile(bounds, buckets, q));
}

/** The largest of what some exports have; null where none does. */
function largest(exports, key) {
  const found = exports.map((one) => one.storage[key]).filter((value) => value !== undefined);
  return found.length ? Math.max(...found) : null;
}

/** Pairs of term and text for the whole gateway. */
export function glance(summary, history, prices) {
  const { exports, latency_bounds: bounds } = summary;
  const both = (kinds) =>
    `${took(history, null, kinds, bounds, 0.5)}, ${took(history, null, kinds, bounds, 0.99)}`;
  const dirty = exports.map((one) => one.storage.volume_dirty_bytes).filter((one) => one >= 0);
  const terms = [
    ["Read", `${words.bytes(per(history, null, "bytes", ["read"]))}/s`],
    ["Written", `${words.bytes(per(history, null, "bytes", ["write"]))}/s`],
    ["Requests", `${words.rate(per(history, null, "requests", KINDS))}/s`],
    ["Clients", words.count(summary.connections)],
    ["Read: median, p99", both(["read"])],
    ["Write: median, p99", both(CHANGES)],
    ["Flush: median, p99", both(["flush"])],
  ];
  if (dirty.length) {
    terms.push(["Dirty", words.bytes(sum(dirty))]);
    terms.push(["Oldest unstored", words.seconds(largest(exports, "volume_oldest_dirty_seconds"))]);
  }
  const paid = exports.filter(isPaid);
  if (paid.length) {
    const all = sum(paid.map((one) => cost(storeRequests(one.storage), prices)));
    terms.push(["S3 requests so far", words.dollars(all)]);
  }
  return terms;
}

/** Whether requests of this export's store are paid for. */
function isPaid(exported) {
  return exported.provider === "s3" && exported.storage.s3_requests !== undefined;
}

/** What an export is, in a word or a few. */
function state(exported) {
  if (!exported.open) return "unavailable";
  if (exported.storage.volume_fenced) return "fenced";
  if (exported.storage.volume_failed) return "failed";
  return exported.read_only ? "read-only" : "open";
}

/** One row for each export. */
export function exportRows(summary, history) {
  return summary.exports.map((one) => [one.name, [
    one.name,
    state(one),
    words.bytes(one.size),
    words.count(one.clients),
    words.bytes(per(history, one.name, "bytes", ["read"])),
    words.bytes(per(history, one.name, "bytes", ["write"])),
    words.rate(per(history, one.name, "requests", KINDS)),
    words.count(one.in_flight),
    words.count(sum(Object.values(one.errors))),
    words.bytes(one.storage.volume_dirty_bytes),
    words.seconds(one.storage.volume_oldest_dirty_seconds),
    words.percent(hitRatio(one.storage, "memory")),
  ]]);
}

/** One row for each kind of request that an export had. */
export function kindRows(summary, history, exported) {
  const { name } = exported;
  const quantiles = (kind) => [0.5, 0.99].map((q) =>
    kind === "refused" ? words.NONE : took(history, name, [kind], summary.latency_bounds, q));
  return KINDS.filter((kind) => exported.requests[kind]).map((kind) => [kind, [
    kind.replace("_", " "),
    words.count(exported.requests[kind]),
    words.rate(per(history, name, "requests", [kind])),
    exported.bytes[kind] ? words.bytes(per(history, name, "bytes", [kind])) : words.NONE,
    ...quantiles(kind),
  ]]);
}

/** Pairs of term and text about an export and its storage, as far as it tells. */
export function facts(exported) {
  const { storage } = exported;
  const terms = [["Provider", exported.provider], ["Size", words.bytes(exported.size)]];
  const add = (term, key, say) => {
    if (storage[key] !== undefined) terms.push([term, say(storage[key])]);
  };
  add("Dirty", "volume_dirty_bytes", words.bytes);
  add("Oldest unstored", "volume_oldest_dirty_seconds", words.seconds);
  add("Last flush", "last_flush_timestamp_seconds", words.moment);
  add("Live data", "volume_live_bytes", words.bytes);
  add("Dead data", "volume_dead_bytes", words.bytes);
  add("Objects of data", "volume_objects", words.count);
  for (const [cache, term] of [["memory", "Hits in memory"], ["disk", "Hits in the disk cache"]]) {
    if (storage.cache_hits?.[cache] !== undefined) {
      terms.push([term, words.percent(hitRatio(storage, cache))]);
    }
  }
  add("Cached in memory", "cache_bytes", words.bytes);
  add("Journal full", "journal_used_ratio", words.percent);
  add("Journal", "journal_failed", (failed) => (failed ? "given up" : "in use"));
  add("Zeroes not sent", "zero_bytes_avoided", words.bytes);
  add("Moved by the collector", "gc_moved_bytes", words.bytes);
  add("Map in memory", "map_memory_bytes", words.bytes);
  add("Damaged objects", "crc_errors", words.count);
  for (const [error, number] of Object.entries(exported.errors)) {
    terms.push([`Answered ${error.replaceAll("_", " ")}`, words.count(number)]);
  }
  return terms;
}

/** One row for each connection, keyed by its place: nothing else tells two of one client apart. */
export function clientRows(connections, now) {
  return connections.map((one, index) => [index, [
    one.peer,
    one.export,
    one.protocol.toUpperCase(),
    words.seconds(Math.max(Math.floor(now - one.since), 0)),
    one.names.length ? one.names.join(", ") : one.tls ? "yes" : "no",
    words.count(sum(Object.values(one.requests))),
    words.bytes(one.bytes.read ?? 0),
    words.bytes(one.bytes.write ?? 0),
    words.count(one.in_flight),
    words.count(sum(Object.values(one.errors))),
  ]]);
}

/** One row for each export that has an object store. */
export function storeRows(summary, prices) {
  const running = summary.time - summary.started;
  return summary.exports.filter((one) => one.storage.s3_requests).map((one) => {
    const requests = storeRequests(one.storage);
    const paid = isPaid(one) ? cost(requests, prices) : null;
    const month = paid === null || running < WORTH_TELLING ? null : (paid / running) * MONTH;
    return [one.name, [
      one.name,
      ...["put", "list", "get", "head", "delete", "failed"].map((key) => words.count(requests[key])),
      words.bytes(one.storage.s3_bytes?.up ?? 0),
      words.bytes(one.storage.s3_bytes?.down ?? 0),
      paid === null ? "free" : words.dollars(paid),
      words.dollars(month),
    ]];
  });
}

/** What is wrong, for people: the gateway's own reasons, and what an export tells. */
export function trouble(summary) {
  const found = summary.exports.flatMap((one) => {
    if (one.storage.volume_fenced) {
      return [`${one.name}: fenced. Another gateway has taken the volume over; nothing is written here any more.`];
    }
    if (one.storage.volume_failed) {
      return [`${one.name}: failed. Changes are refused; see the gateway's log for why.`];
    }
    if (!one.open) return [`${one.name}: unavailable. It is not open; see the gateway's log for why.`];
    if (one.storage.journal_failed) {
      return [`${one.name}: the journal is given up; flushes wait for the store.`];
    }
    return [];
  });
  const told = new Set(summary.exports.flatMap((one) =>
    [`export ${one.name} is not open`, `export ${one.name} takes no changes`]));
  return [...summary.reasons.filter((reason) => !told.has(reason)), ...found];
}

/** Ages and values for the two charts: of each, reading and the rest. */
export function lines(history) {
  const { samples, last } = history;
  const series = (what, kinds) => samples.slice(1).map((sample, index) => [
    last.time - sample.time, growth(samples[index], sample, null, counter(what, kinds)),
  ]);
  const others = KINDS.filter((kind) => kind !== "read");
  return {
    bytes: [series("bytes", ["read"]), series("bytes", ["write"])],
    requests: [series("requests", ["read"]), series("requests", others)],
  };
}
