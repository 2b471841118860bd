// A real server with real services and traffic, for as long as a test lasts.
import { execFile, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

const run = promisify(execFile);

function binary() {
  const targets = [process.env.CARGO_TARGET_DIR, join(import.meta.dirname, "../../target"), join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "davy/target")];
  const places = [process.env.DAVY, ...targets.filter(Boolean).map((target) => join(target, "debug/davy"))];
  const found = places.find((place) => place && existsSync(place));
  if (!found) throw new Error("there is no davy to test: `cargo build -p davy`, or name one with DAVY=/path/to/davy");
  return found;
}

/** Until it is so; what it was last, if it never is. */
export async function until(what, look, seconds = 60) {
  const end = Date.now() + 1000 * seconds;
  let last;
  while (Date.now() < end) {
    try {
      last = await look();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`${what}: not within ${seconds} s; last ${last instanceof Error ? last.stack : JSON.stringify(last)}`);
}

export class Davy {
  static async start() {
    const davy = new Davy();
    await davy.#up();
    return davy;
  }

  binary = binary();
  folder = mkdtempSync(join(tmpdir(), "davy-page-"));
  #loads = [];

  async #up() {
    mkdirSync(join(this.folder, "services"));
    const words = ["up", "--json", "--data", join(this.folder, "data"), "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0"];
    this.server = spawn(this.binary, words, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, XDG_STATE_HOME: this.folder } });
    const said = [];
    createInterface({ input: this.server.stderr }).on("line", (line) => said.push(line));
    const ready = await new Promise((done, failed) => {
      createInterface({ input: this.server.stdout }).on("line", (line) => {
        const told = JSON.parse(line);
        if (told.type === "ready") done(told);
      });
      this.server.on("exit", (code) => failed(new Error(`davy up ended with ${code}: ${said.join("\n")}`)));
    });
    this.url = ready.url;
    this.token = readFileSync(ready.token_file, "utf8").trim();
    this.tokenFile = ready.token_file;
    this.gateway = new URL(ready.gateway.includes("//") ? ready.gateway : `http://${ready.gateway}`);
  }

  async stop() {
    for (const stop of this.#loads) stop();
    await this.cli("down").catch(() => this.server.kill());
    await until("the server ends", () => this.server.exitCode !== null || this.server.signalCode !== null);
    rmSync(this.folder, { recursive: true, force: true });
  }

  async cli(...words) {
    const { stdout } = await run(this.binary, [...words, "--server", this.url, "--token-file", this.tokenFile], { cwd: this.folder });
    return stdout;
  }

  async api(path, init = {}) {
    const response = await fetch(this.url + path, { ...init, headers: { authorization: `Bearer ${this.token}`, ...init.headers } });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  /** Another one's token. */
  async tokenFor(name, role, environments = []) {
    const told = await this.api("/api/tokens", { method: "POST", body: JSON.stringify({ name, role, environments }), headers: { "content-type": "application/json" } });
    return told.token;
  }

  /** Deploys; the answer is the rollout's name. `command` in place of the sample service. */
  async deploy(service, { version = "v1", errors = "0.1%", command, steps = "50%, 100%", hold = "2s", deadline = "10m", bake = "2s" } = {}) {
    const words = command ?? `"${this.binary}" logo --port $PORT --version ${version} --error-rate ${errors} --seed 1`;
    const file = join(this.folder, "services", `${service}.yaml`);
    const text = `service: ${service}
command: ${JSON.stringify(words)}
health: { path: /healthz, grace: 20s, interval: 500ms }
route: { host: ${service}.test }
rollout:
  canary:
    steps: [${steps}]
    hold: ${hold}
    deadline: ${deadline}
  drain: 1s
  bake: ${bake}
`;
    writeFileSync(file, text);
    const told = await this.cli("deploy", "--file", file, "--json");
    return told.split("\n").filter(Boolean).map((line) => JSON.parse(line)).find((line) => line.rollout).rollout;
  }

  act(rollout, action) {
    return this.api(`/api/rollouts/${rollout}/${action}`, { method: "POST" });
  }

  /** A first release that serves. */
  async serve(service, options) {
    const rollout = await this.deploy(service, options);
    await until(`${service} serves`, async () => (await this.api(`/api/rollouts/${rollout}`)).outcome === "promoted");
    await until(`${service} is settled`, async () => (await this.api(`/api/services/production/${service}`)).state === "serving");
    return rollout;
  }

  /** One request to a service. */
  ask(service, path) {
    const options = { host: this.gateway.hostname, port: this.gateway.port, path, headers: { host: `${service}.test` } };
    return new Promise((done, failed) => http.get(options, (answer) => answer.resume().on("end", done)).on("error", failed));
  }

  /** Requests to a service, so many a second, until the end. */
  load(service, rate) {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 20 });
    const every = 50;
    const timer = setInterval(() => {
      for (let left = (rate * every) / 1000; left > 0; left -= 1) {
        const request = http.get({ host: this.gateway.hostname, port: this.gateway.port, path: "/version", agent, headers: { host: `${service}.test` } }, (answer) => answer.resume());
        request.on("error", () => {});
      }
    }, every);
    const stop = () => {
      clearInterval(timer);
      agent.destroy();
    };
    this.#loads.push(stop);
    return stop;
  }
}

/** A network between browser and server that can be cut, and that sees how many event streams there are. */
export class Relay {
  static async to(url) {
    const relay = new Relay();
    const target = new URL(url);
    relay.#server = net.createServer((client) => {
      if (relay.#cut) return client.destroy();
      const server = net.connect(Number(target.port), target.hostname);
      relay.#sockets.add(client);
      client.on("data", (data) => {
        if (data.includes("GET /api/events")) relay.#streams.add(client);
      });
      client.pipe(server).pipe(client);
      const end = () => {
        relay.#sockets.delete(client);
        relay.#streams.delete(client);
        client.destroy();
        server.destroy();
      };
      for (const socket of [client, server]) socket.on("error", end).on("close", end);
    });
    await new Promise((done) => relay.#server.listen(0, "127.0.0.1", done));
    relay.url = `http://127.0.0.1:${relay.#server.address().port}`;
    return relay;
  }

  #server;
  #cut = false;
  #sockets = new Set();
  #streams = new Set();

  get streams() {
    return this.#streams.size;
  }

  cut() {
    this.#cut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend() {
    this.#cut = false;
  }

  stop() {
    this.cut();
    this.#server.close();
  }
}
