"""What the benches share: a server in a folder of its own, requests with the times at which they left, waiting for what is to be seen."""
import http.client, json, os, signal, subprocess, threading, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STEPS = ["10%", "50%", "100%"]
FILE = """service: logo
command: '"{davy}" logo --port $PORT --version {version}'
health: {{ path: /healthz, grace: 10s, interval: 500ms }}
rollout:
  canary: {{ steps: [{steps}], hold: {hold}, deadline: 5m }}
  drain: 2s
  bake: 2s
"""


def build():
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "davy"], cwd=ROOT, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "davy"


def until(what, seen, within=60):
    """Waits until `seen` gives something, and gives it."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        value = seen()
        if value:
            return value
        time.sleep(0.01)
    raise SystemExit(f"never seen in {within} s: {what}")


class Load:
    """Requests on a few connections, one after the other on each: when each left, and which version answered."""

    def __init__(self, address, connections=4, pause=0.005):
        self.address, self.pause, self.ended = address, pause, threading.Event()
        self.answers, self.lost = [], []
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(connections)]
        for thread in self.threads:
            thread.start()

    def run(self):
        connection = None
        while not self.ended.is_set():
            sent = time.time()
            try:
                connection = connection or http.client.HTTPConnection(self.address, timeout=10)
                connection.request("GET", "/version")
                answer = connection.getresponse()
                answer.read()
                version = answer.headers.get("x-version")
            except OSError as error:
                version, answer = None, error
            except http.client.HTTPException as error:
                version, answer = None, error
            if version is None:
                self.lost.append((sent, str(getattr(answer, "status", answer))))
                connection = None
            else:
                self.answers.append((sent, time.time(), version))
            time.sleep(self.pause)

    def stop(self):
        self.ended.set()
        for thread in self.threads:
            thread.join(20)


class Host:
    """A server in a folder of its own. Its output goes to files: nothing waits for a pipe."""

    def __init__(self, davy, folder):
        self.davy, self.folder, self.data = davy, Path(folder), Path(folder) / "d"
        self.environment = os.environ | {"HOME": folder, "XDG_STATE_HOME": folder + "/s"}
        self.environment.pop("DAVY_SERVER", None)
        self.starts, self.server, self.gateway = 0, None, "127.0.0.1:0"
        self.stable, self.canary = "v2", "v1"
        # What its server is told besides, and what its file says besides.
        self.words, self.more = [], ""

    def start(self):
        self.starts += 1
        out = self.folder / f"out-{self.starts}"
        command = ["up", "--json", "--data", self.data, "--listen", "127.0.0.1:0", "--gateway", self.gateway, *self.words]
        with open(out, "wb") as stdout, open(self.folder / "errors", "ab") as stderr:
            self.server = subprocess.Popen([self.davy, *command], stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL,
                                           env=self.environment, cwd=self.folder)
        ready = json.loads(until("the server is ready", lambda: "\n" in out.read_text() and out.read_text(), 20))
        self.gateway = ready["gateway"].removeprefix("http://")

    def kill(self):
        self.server.send_signal(signal.SIGKILL)
        self.server.wait()

    def run(self, *words, within=90):
        out = self.folder / "answer"
        with open(out, "wb") as stdout, open(self.folder / "errors", "ab") as stderr:
            code = subprocess.run([self.davy, *words], stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL,
                                  env=self.environment, cwd=self.folder, timeout=within).returncode
        return code, out.read_text()

    def deploy(self, *words, steps=STEPS, hold="2s"):
        """Rolls out whichever of two healthy versions does not serve."""
        text = FILE.format(davy=self.davy, version=self.canary, steps=", ".join(steps), hold=hold) + self.more
        (self.folder / "davy.yaml").write_text(text)
        code, answer = self.run("deploy", *words)
        if code != 0:
            raise SystemExit(f"deploying {self.canary} ended with {code}: {answer}")

    def promoted(self):
        self.stable, self.canary = self.canary, self.stable

    def status(self):
        code, answer = self.run("rollout", "status", "--json")
        return json.loads(answer) if code == 0 and answer.strip() else {}

    def holds(self, step):
        """The status once this step's weight has been observed, or the rollout is over."""
        def seen():
            status = self.status()
            over = status.get("state") in ("promoted", "rolled-back", "aborted", "superseded", "baking")
            holding = status.get("state") == "holding" and status["step"] >= step and status["weight"]["observed"] is not None
            return status if holding or over else None
        status = until(f"step {step + 1} holds", seen)
        if status["state"] != "holding":
            raise SystemExit(f"the rollout is {status['state']} before its step {step + 1}")
        return status

    def gateway_process(self):
        """The gateway itself, not its porter."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if words[1:3] == ["gateway", "--held"] and str(self.data / "gateway") in words:
                return int(process.name)

    def down(self):
        self.run("down", "--data", str(self.data))
        if self.server:
            try:
                self.server.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
