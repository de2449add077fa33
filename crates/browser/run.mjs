// Runs the tests in Node, or with the argument `browser` in headless Chromium.
// Usage: node run.mjs FOLDER_OF_WASM_BINDGEN [browser PROGRAM]
import { spawn } from "node:child_process";
import { readFile, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const [folder, mode, program] = process.argv.slice(2);

// What runs on either side. `report` gets lines of text; the last says how many have passed.
const suite = `
export async function run(module, bytes, report) {
    await module.default({ module_or_path: bytes });
    let passed = 0, failed = 0;
    for (const line of (await module.tests()).split("\\n")) {
        await report(line);
        if (line.startsWith("ok ")) passed++; else failed++;
    }
    await report(passed + " passed, " + failed + " failed");
    return failed === 0;
}
`;

async function inNode() {
    const { run } = await import("data:text/javascript," + encodeURIComponent(suite));
    const module = await import(resolve(folder, "browser.js"));
    return run(module, await readFile(join(folder, "browser_bg.wasm")), console.log);
}

const page = `<!doctype html><script type="module">
import { run } from "./suite.mjs";
const post = (path, text) => fetch(path, { method: "POST", body: text });
let ok = false;
try {
    const module = await import("./browser.js");
    const bytes = await (await fetch("./browser_bg.wasm")).arrayBuffer();
    ok = await run(module, bytes, (line) => post("/line", line));
} catch (error) {
    await post("/line", error.stack);
}
post("/done?" + ok, "");
</script>`;

async function inBrowser() {
    const profile = await mkdtemp(join(tmpdir(), "browser-"));
    let done;
    const result = new Promise((settle) => { done = settle; });
    const types = { ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };
    const server = createServer(async (request, response) => {
        const url = new URL(request.url, "http://localhost");
        if (request.method === "POST") {
            let line = "";
            for await (const part of request) line += part;
            response.end();
            if (url.pathname === "/done") done(url.search === "?true");
            else console.log(line);
            return;
        }
        try {
            const fixed = { "/": page, "/suite.mjs": suite }[url.pathname];
            const type = types[/\.\w+$/.exec(url.pathname)?.[0]] ?? "text/html";
            const body = fixed ?? await readFile(join(folder, url.pathname));
            response.writeHead(200, { "content-type": type }).end(body);
        } catch {
            response.writeHead(404).end();
        }
    });
    await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
    const browser = spawn(program, [
        "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", `--user-data-dir=${profile}`,
        `http://127.0.0.1:${server.address().port}/`,
    ], { stdio: "ignore", detached: true });
    browser.on("exit", () => done(false));
    const limit = setTimeout(() => { console.log("no result within 60 s"); done(false); }, 60_000);
    const ok = await result;
    clearTimeout(limit);
    // Debian's program is a script that starts the browser.
    try { process.kill(-browser.pid); } catch { /* It has ended. */ }
    server.close();
    server.closeAllConnections();
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    return ok;
}

process.exitCode = await (mode === "browser" ? inBrowser() : inNode()) ? 0 : 1;
