/** As much of navigator.locks as tabs need: one holder at a time, in the order of asking. */

export class FakeLocks {
  private readonly queues = new Map<string, (() => void)[]>();
  readonly held = new Set<string>();

  request(name: string, { signal }: { signal?: AbortSignal }, callback: () => unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const run = (): void => {
        signal?.removeEventListener("abort", abort);
        this.held.add(name);
        void Promise.resolve()
          .then(callback)
          .then(resolve, reject)
          .finally(() => this.release(name));
      };
      const abort = (): void => {
        const queue = this.queues.get(name) ?? [];
        this.queues.set(
          name,
          queue.filter((each) => each !== run),
        );
        reject(new DOMException("aborted", "AbortError"));
      };
      if (signal?.aborted) return reject(new DOMException("aborted", "AbortError"));
      signal?.addEventListener("abort", abort);
      if (this.held.has(name)) this.queues.set(name, [...(this.queues.get(name) ?? []), run]);
      else run();
    });
  }

  /** Gives the lock to the next one, also where its holder has died. */
  release(name: string): void {
    this.held.delete(name);
    this.queues.get(name)?.shift()?.();
  }
}

/** BroadcastChannel whose messages the test can lose; they arrive in a later task, as copies. */
export class FakeChannel {
  static all: FakeChannel[] = [];
  /** Says whether a message is lost on its way to a channel. */
  static lost: (data: unknown, to: FakeChannel) => boolean = () => false;
  static sent: unknown[] = [];
  onmessage: ((event: { data: unknown }) => void) | null = null;

  constructor(readonly name: string) {
    FakeChannel.all.push(this);
  }

  postMessage(data: unknown): void {
    FakeChannel.sent.push(data);
    for (const other of FakeChannel.all) {
      if (other === this || other.name !== this.name || FakeChannel.lost(data, other)) continue;
      const copy: unknown = structuredClone(data);
      setTimeout(() => FakeChannel.all.includes(other) && other.onmessage?.({ data: copy }), 0);
    }
  }

  close(): void {
    FakeChannel.all = FakeChannel.all.filter((each) => each !== this);
  }
}
