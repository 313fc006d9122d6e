/** Asks the site: JSON there and back, with Django's CSRF token where there is one. */

/** The site has refused, or did not answer: then `status` is 0. */
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
  // Read each time: signing in again in another tab changes it.
  const csrf = /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie)?.[1];
  if (csrf !== undefined) headers["X-CSRFToken"] = csrf;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) }).catch(() => {
    throw new SiteError(0, "the site does not answer");
  });
  const text = await response.text();
  if (!response.ok) throw new SiteError(response.status, reason(text) ?? `the site says ${response.status}`);
  return (text === "" ? null : JSON.parse(text)) as T;
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
