/** The token in this tab's storage, where that is wanted and the browser does it. Storage may be switched off, and then nothing is kept. */

const NAME = "rowcast-token";

export function keep(token, wanted) {
  try {
    if (wanted && token) sessionStorage.setItem(NAME, token);
    else sessionStorage.removeItem(NAME);
  } catch {
    // It is in the page's memory, as ever.
  }
}

/** Returns the token that was kept, or null. */
export function kept() {
  try {
    return sessionStorage.getItem(NAME);
  } catch {
    return null;
  }
}
