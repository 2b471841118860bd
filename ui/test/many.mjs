// A real server's answers, many times over: as if it had so many services. What nobody can run here as processes is at least shown.
import http from "node:http";

/** In front of a server: each of its services stands for `times`, and each rollout under way for `moving` that change `rate` times a second. */
export function many(url, { times, moving = 0, rate = 0 }) {
  const target = new URL(url);
  const other = (text, from, to) => text.replaceAll(`"${from}"`, `"${to}"`);
  let pattern = null;
  const server = http.createServer((request, answer) => {
    const list = /^\/api\/services(\?|$)/.test(request.url);
    const events = request.url.startsWith("/api/events");
    const headers = { ...request.headers, host: target.host };
    if (headers.origin) headers.origin = target.origin;
    const passed = http.request({ host: target.hostname, port: target.port, path: request.url, method: request.method, headers }, (told) => {
      const { "content-length": _, ...head } = told.headers;
      answer.writeHead(told.statusCode, list ? head : told.headers);
      if (!list) {
        told.pipe(answer);
        if (events && moving > 0) {
          const timer = setInterval(() => {
            if (!pattern) return;
            const each = Math.max(1, Math.round(rate / 20));
            for (let index = 0; index < each; index += 1) {
              const one = JSON.parse(pattern);
              const number = Math.floor(Math.random() * moving);
              one.id = `many-${number}`;
              one.service = `service-${number}`;
              one.now = Date.now();
              one.weight.observed = Math.floor(Math.random() * 10_000);
              answer.write(`event: rollout\ndata: ${JSON.stringify(one)}\n\n`);
            }
          }, 50);
          told.on("data", (data) => {
            const found = /event: rollout\ndata: (.*)\n\n/.exec(data.toString());
            if (found && !found[1].includes("many-")) pattern ??= found[1];
          });
          answer.on("close", () => clearInterval(timer));
        }
        return;
      }
      let text = "";
      told.on("data", (data) => (text += data));
      told.on("end", () => {
        const services = JSON.parse(text);
        const all = Array.from({ length: times }, (_, index) => {
          const one = services[index % services.length];
          return JSON.parse(other(JSON.stringify({ ...one, rollout: null, state: "serving" }), one.service, `service-${index}`));
        });
        answer.end(JSON.stringify(all));
      });
    });
    passed.on("error", () => answer.destroy());
    request.pipe(passed);
    answer.on("close", () => passed.destroy());
  });
  return new Promise((done) => server.listen(0, "127.0.0.1", () => done({ url: `http://127.0.0.1:${server.address().port}`, stop: () => server.close() })));
}
