/** Asks the site: JSON there and back, with Django's CSRF token where there is one. */

/** The site has refused; or it did not answer, or not what was asked for: then `status` is 0. */
export class SiteError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** Sends a request, and returns what comes back as JSON, or null where nothing does. Throws SiteError. */
export async function ask<T>(method: "GET" | "POST" | "PATCH" | "DELETE", path: string, body?: unknown): Promise<T> {
  const headers: Record<string, string> = {};
  const token = csrf();
  if (token !== undefined) headers["X-CSRFToken"] = token;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) }).catch(() => {
    throw new SiteError(0, "the site does not answer");
  });
  const text = await response.text();
  if (!response.ok) throw new SiteError(response.status, reason(text) ?? `the site says ${response.status}`);
  try {
    return (text === "" ? null : JSON.parse(text)) as T;
  } catch {
    // Some page, perhaps one to sign in with.
    throw new SiteError(0, "the site's answer is not what was asked for");
  }
}

/** Returns Django's CSRF token. It is read each time: signing in again in another tab changes it. */
export function csrf(): string | undefined {
  return /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie)?.[1];
}

/** Returns what an error's body says to people: the `detail` of JSON, or one line of plain text. */
function reason(text: string): string | null {
  try {
    const { detail } = JSON.parse(text) as { detail?: unknown };
    return typeof detail === "string" ? detail : null;
  } catch {
    return text.startsWith("<") || text.length > 300 || text === "" ? null : text;
  }
}
