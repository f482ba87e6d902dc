// What the page does: it keeps what there is to know of each circuit, and shows it.

import { Feed } from "./feed.js";
import { SHOWN, Table, mark, write, writePieces } from "./table.js";
import { count, isQuiet, link, probeOf, rankOf, sentence, told } from "./words.js";

const LOGGED = 50; // events that are listed
const REDRAWN = 5; // seconds after which courses that move are drawn anew

const part = (id) => document.getElementById(id);
const base = new URL("../", import.meta.url).href;

class Page {
  constructor() {
    this.circuits = new Map();
    this.log = [];
    this.dirty = new Set(); // names of circuits that are to be shown anew
    this.isArranged = this.isLogged = true;
    this.ahead = 0; // seconds by which the clock of the process is ahead of ours
    this.lostAt = null;
    this.fleet = null; // how the process stands with those that it shares circuits with
    this.table = new Table((name, action) => this.order(name, action));
    part("filter").addEventListener("input", () => this.arrange());
    this.feed = new Feed(base, this);
    setInterval(() => this.tick(), 1000);
    document.documentElement.dataset.ready = "yes";
  }

  /** The time of the process that is shown, in seconds. */
  get now() {
    return performance.now() / 1000 + this.ahead;
  }

  // What the feed tells

  begin(figures) {
    this.circuits.clear();
    this.table.clear();
    this.log = [];
    this.isLogged = false;
    this.timeOf(figures);
  }

  figures(figures) {
    this.timeOf(figures);
    this.fleet = figures.fleet ?? null;
    const there = new Set();
    for (const each of figures.circuits) {
      there.add(each.name);
      this.take(each, figures.sequence);
    }
    for (const [name, circuit] of this.circuits) {
      if (!there.has(name) && circuit.sequence <= figures.sequence) this.remove(name);
    }
    this.lostAt = null;
    this.show();
  }

  event(event) {
    if (event.type === "EventsMissed") return; // figures tell what has come of it
    this.log.unshift(event);
    this.log.length = Math.min(this.log.length, LOGGED);
    this.isLogged = false;
    if (["CircuitStopped", "CircuitRetired"].includes(event.type)) {
      this.remove(event.circuit);
    } else if (event.circuit !== "") { // else it is no single circuit's
      this.note(this.circuits.get(event.circuit) ?? this.add(event.circuit), event);
    }
    this.showing ??= setTimeout(() => this.show(), 50); // many may come at once
  }

  lost() {
    this.lostAt ??= Date.now();
    this.headline();
  }

  // What is known of each circuit

  timeOf(figures) {
    this.ahead = figures.now - performance.now() / 1000;
  }

  add(name) {
    const circuit = {
      name,
      state: "closed",
      would_be: "closed",
      running: true,
      since: null, // when it entered its state
      origin: "here", // who has brought that about
      failures: null, // that have opened it
      probe: null, // when the next one may be
      starts: null, // when its actor does, which pauses after a crash
      verdict: null, // what becomes of its calls, once it was given up
      rate: null,
      course: [], // its states, oldest first
      sequence: 0, // of its latest event
      failure_count: 0,
      succeeded: 0,
      failed: 0,
      rejected: 0,
      in_flight: 0,
      refusals: {},
      counted: null, // how many calls there were, and when
    };
    this.circuits.set(name, circuit);
    this.isArranged = false;
    return circuit;
  }

  remove(name) {
    this.circuits.delete(name);
    this.dirty.delete(name);
    this.table.remove(name);
    this.isArranged = false;
  }

  take(figures, sequence) {
    const circuit = this.circuits.get(figures.name) ?? this.add(figures.name);
    const { state, would_be, running, retry_after, restarts_in, since, origin, ...others } = figures;
    this.rate(circuit, figures.started);
    Object.assign(circuit, others);
    if (circuit.sequence <= sequence) { // else an event has told what is newer than that
      if (rankOf(circuit) !== rankOf(figures)) this.isArranged = false;
      if (circuit.sequence === 0) circuit.state = state; // events will tell when it came to that
      else if (circuit.state !== state) this.enter(circuit, state, null);
      Object.assign(circuit, { would_be, running, origin, since: since ?? circuit.since });
      circuit.probe = probeOf(state, this.now, retry_after);
      circuit.starts = restarts_in > 0 ? this.now + restarts_in : null;
    }
    this.dirty.add(circuit.name);
  }

  rate(circuit, calls) {
    const before = circuit.counted;
    const seconds = before && this.now - before.at;
    if (before && seconds < 0.5) return; // something was done by hand in between
    if (before) circuit.rate = Math.max(0, calls - before.calls) / seconds;
    circuit.counted = { calls, at: this.now };
  }

  note(circuit, event) {
    circuit.sequence = event.sequence;
    if (event.type === "CircuitStarted") {
      circuit.course = [{ at: event.at, state: null }]; // which one, the next change tells
    } else if (event.type === "CircuitGivenUp") {
      Object.assign(circuit, { running: false, verdict: event.verdict, since: event.at });
      this.isArranged = false;
    } else if (event.type === "StateChanged" && event.metrics_only) {
      circuit.would_be = event.to_state;
    } else if (event.type === "StateChanged") {
      if (circuit.course.length === 0) circuit.course.push({ at: -Infinity, state: null });
      circuit.course.at(-1).state ??= event.from_state;
      this.enter(circuit, event.to_state, event.at);
      circuit.failures = event.failure_count;
      circuit.origin = event.origin;
      circuit.probe = probeOf(event.to_state, event.at, event.retry_after);
    }
    this.dirty.add(circuit.name);
  }

  enter(circuit, state, at) {
    circuit.course.push({ at: at ?? this.now, state });
    while (circuit.course.length > 1 && circuit.course[1].at < this.now - SHOWN) circuit.course.shift();
    Object.assign(circuit, { state, would_be: state, since: at, failures: null });
    this.isArranged = false;
  }

  // What is shown of it

  show() {
    clearTimeout(this.showing);
    this.showing = null;
    for (const name of this.dirty) this.table.show(this.circuits.get(name), this.now);
    this.dirty.clear();
    if (!this.isArranged) this.arrange();
    if (!this.isLogged) this.list();
    this.headline();
  }

  arrange() {
    this.table.arrange(this.circuits.values(), part("filter").value.toLowerCase());
    this.isArranged = true;
  }

  tick() {
    if (document.hidden) return;
    const isTimeToDraw = Math.floor(this.now) % REDRAWN === 0;
    for (const circuit of this.circuits.values()) {
      if (!isQuiet(circuit, this.now)) this.table.tick(circuit, this.now);
      if (isTimeToDraw && circuit.course.length > 1) this.table.draw(circuit, this.now);
    }
    this.headline();
  }

  headline() {
    const pieces = this.pieces();
    writePieces(part("headline"), pieces, false);
    document.title = `${pieces[0].text} – circuits`;
    const { process, others } = this.feed ?? { others: new Set() };
    if (!process) return;
    const more = others.size > 0 ? `, and not ${[...others].join(", ")}: each has circuits of its own` : "";
    write(part("about"), `${count(this.circuits.size, "circuit")} of process ${process}${more}${link(this.fleet)}`);
  }

  pieces() {
    if (!this.feed?.run && this.lostAt === null) return [{ text: "Asking how things stand" }];
    const circuits = [...this.circuits.values()];
    const ranks = circuits.map(rankOf);
    const worst = ["given_up", "open", "half_open"].find((rank) => ranks.includes(rank));
    mark(document.body, this.lostAt === null ? (worst ?? "closed") : "lost");
    if (this.lostAt === null) return sentence(circuits, this.now);
    const time = new Date(this.lostAt).toLocaleTimeString();
    const rest = circuits.length > 0 ? "; this is how things stood" : "";
    return [{ text: `No answer since ${time}${rest}` }];
  }

  list() {
    const items = this.log.map((event) => {
      const item = document.createElement("li");
      const time = document.createElement("time");
      const name = document.createElement("bdi");
      const at = new Date(Date.now() - (this.now - event.at) * 1000);
      time.dateTime = at.toISOString();
      time.textContent = at.toLocaleTimeString();
      name.textContent = event.circuit;
      name.className = "name";
      item.append(time, name, told(event));
      if (event.to_state) item.dataset.state = event.to_state;
      return item;
    });
    part("log").replaceChildren(...items);
    this.isLogged = true;
  }

  // What is done by hand

  async order(name, action) {
    write(part("notice"), "");
    try {
      const done = await this.feed.order(name, action);
      this.take(done.circuit, done.sequence);
      this.show();
    } catch (error) {
      write(part("notice"), `${name}: not done, ${error.message}`);
    }
  }
}

new Page();
