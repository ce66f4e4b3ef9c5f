// digest.py's twin: an MCP server with one tool, ``digests``, of its variables and arguments.

import { createHash } from "node:crypto";
import { createInterface } from "node:readline";

const digest = (text) => createHash("sha256").update(text).digest("hex");

function result(method) {
  if (method === "initialize") {
    const serverInfo = { name: "digest", version: "1" };
    return { protocolVersion: "2025-06-18", capabilities: { tools: {} }, serverInfo };
  }
  if (method === "tools/list") return { tools: [{ name: "digests", inputSchema: { type: "object" } }] };
  if (method === "tools/call") {
    const variables = Object.fromEntries(Object.entries(process.env).map(([name, value]) => [name, digest(value)]));
    const found = { variables, arguments: process.argv.slice(2).map(digest) };
    return { content: [{ type: "text", text: JSON.stringify(found) }] };
  }
  return {};
}

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  if (message.id === undefined) continue;
  process.stdout.write(JSON.stringify({ jsonrpc: "2.0", id: message.id, result: result(message.method) }) + "\n");
}
