// Where figures and events come from: one process, although several may answer at this address.

const AT_LEAST = 1000; // milliseconds between two readings of all figures
const FOR_EACH = 2.5; // milliseconds more for each circuit: what a reading costs a server stays small
const PATIENCE = 5000; // milliseconds for which another process's answers are let pass

export class Feed {
  /**
   * @param base the URL at which circuits are shown
   * @param view told of all: `begin(document)` of another process, `figures(document)`, `event(event)`,
   *   `lost()` when nobody answers
   */
  constructor(base, view) {
    this.base = base;
    this.view = view;
    this.run = null; // which start of which process is shown
    this.process = null;
    this.others = new Set();
    this.sequence = 0;
    this.heard = 0;
    this.source = null;
    this.timer = null;
    document.addEventListener("visibilitychange", () => this.readSoon(0));
    this.read();
  }

  /** Have the process that is shown do something; the promise is rejected with the reason if it does not. */
  async order(circuit, action) {
    const body = JSON.stringify({ circuit, action, run: this.run });
    const headers = { "content-type": "application/json", accept: "application/json" };
    const answer = await fetch(this.base, { method: "POST", headers, body });
    if (answer.ok) return answer.json();
    const problem = await answer.json().catch(() => ({}));
    throw new Error(problem.detail ?? `status ${answer.status}`);
  }

  async read() {
    const figures = await this.fetched().catch(() => null); // the browser logs why
    if (figures === null) {
      this.heard = 0; // whoever answers next is shown
      this.view.lost();
    } else {
      this.take(figures);
    }
    this.readSoon(Math.max(AT_LEAST, FOR_EACH * (figures?.circuits.length ?? 0)));
  }

  async fetched() {
    const answer = await fetch(this.base, { headers: { accept: "application/json" } });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return answer.json();
  }

  readSoon(wait) {
    clearTimeout(this.timer);
    if (!document.hidden) this.timer = setTimeout(() => this.read(), wait);
  }

  take(figures) {
    const now = performance.now();
    if (figures.run !== this.run) {
      this.others.add(figures.process);
      if (this.heard > 0 && now - this.heard < PATIENCE) return;
      if (this.heard === 0) this.others.clear(); // those that there were may be gone
      this.run = figures.run;
      this.process = figures.process;
      this.others.delete(this.process);
      this.sequence = 0;
      this.view.begin(figures);
      this.listen();
    }
    this.heard = now;
    this.view.figures(figures);
  }

  /** Hear all events that there are, old ones first, and those to come. */
  listen() {
    this.source?.close();
    const source = new EventSource(`${this.base}events?last_event_id=${this.run}-${this.sequence}`);
    this.source = source;
    source.onmessage = ({ data, lastEventId }) => {
      const event = JSON.parse(data);
      if (lastEventId.startsWith(`${this.run}-`)) {
        this.sequence = event.sequence;
        this.view.event(event);
      } else {
        if (event.type === "Began") this.others.add(event.process);
        this.again(source); // that process knows nothing of what we have heard
      }
    };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) this.again(source);
    };
  }

  again(source) {
    source.close();
    setTimeout(() => source === this.source && this.listen(), AT_LEAST);
  }
}
