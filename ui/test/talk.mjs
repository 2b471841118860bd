// A service that writes what it is asked to: `/talk?lines=N` writes so many lines, some of them hostile.
import http from "node:http";

const port = Number(process.argv[process.argv.indexOf("--port") + 1]);
const hostile = ["<img src=x onerror=alert(1)>", "\u001b[31mred\u001b[0m", "\u202egnp.exe", "</script><script>alert(1)</script>", "{{7*7}} ${alert(1)}"];
http
  .createServer((request, answer) => {
    const lines = Number(new URL(request.url, "http://x").searchParams.get("lines") ?? 0);
    const text = Array.from({ length: lines }, (_, index) => `line ${index} ${hostile[index % hostile.length]}`).join("\n");
    if (lines > 0) process.stdout.write(`${text}\n`);
    answer.end("ok\n");
  })
  .listen(port, "127.0.0.1");
