// Questions to the gateway, with the token if there is one.

const KEY = "nbdgateway-token";

/** How long an answer may take, if nothing else is said, in milliseconds. */
const PATIENCE = 10_000;

/** The gateway wants a token, or another one. */
export class TokenNeeded extends Error {}

/** The gateway has answered, with an error. */
export class Refused extends Error {}

/** Keep the token as long as the tab lives; null forgets it. */
export function setToken(token) {
  if (token === null) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, token);
}

/** Whether a token was given. */
export function hasToken() {
  return sessionStorage.getItem(KEY) !== null;
}

/**
 * The answer to GET, of JSON, if it comes within so many milliseconds.
 *
 * Throws TokenNeeded, Refused with the gateway's words, and whatever fetch
 * throws where nobody answers.
 */
export async function ask(path, patience = PATIENCE) {
  const token = sessionStorage.getItem(KEY);
  const answer = await fetch(path, {
    headers: token === null ? {} : { Authorization: `Bearer ${token}` },
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
    signal: AbortSignal.timeout(patience),
  });
  if (answer.status === 401) throw new TokenNeeded();
  const found = await answer.json();
  if (!answer.ok) throw new Refused(found.detail ?? `got status ${answer.status}`);
  return found;
}
