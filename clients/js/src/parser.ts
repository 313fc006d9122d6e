/** The event stream's text → messages (WHATWG HTML §9.2.6). Pieces may end anywhere. */

export interface Parsed {
  onMessage(message: { id: string; event: string; data: string }): void;
  onRetry(ms: number): void;
}

/** Returns what takes the next piece of text. */
export function createParser({ onMessage, onRetry }: Parsed): (piece: string) => void {
  let rest = "";
  let id = "";
  let event = "";
  let data: string[] = [];
  return (piece) => {
    // A CR at the end may be half of a line's end.
    const lines = (rest + piece).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const [, name, value = ""] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
      if (name === "data") data.push(value);
      if (name === "event") event = value;
      if (name === "id" && !value.includes("\0")) id = value;
      if (name === "retry" && /^\d+$/.test(value)) onRetry(Number(value));
      if (line) continue;
      if (data[0] !== undefined) onMessage({ id, event: event || "message", data: data.join("\n") });
      id = event = "";
      data = [];
    }
  };
}
