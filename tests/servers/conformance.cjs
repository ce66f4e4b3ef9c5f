// The server that the MCP conformance suite expects, on stdio; its argument is the node_modules directory with the SDK.
const sdk = `${process.argv[2]}/@modelcontextprotocol/sdk/dist/cjs`;
const { Server } = require(`${sdk}/server/index.js`);
const { StdioServerTransport } = require(`${sdk}/server/stdio.js`);
const types = require(`${sdk}/types.js`);

const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";

const text = (value) => ({ type: "text", text: value });
const image = { type: "image", data: PNG, mimeType: "image/png" };
const audio = { type: "audio", data: WAV, mimeType: "audio/wav" };
const embedded = (uri, mimeType, value) => ({ type: "resource", resource: { uri, mimeType, text: value } });
const content = (...items) => ({ content: items });
const object = (properties, required = []) => ({ type: "object", properties, required });
const string = (rest = {}) => ({ type: "string", ...rest });
const pause = () => new Promise((resolve) => setTimeout(resolve, 20));

const titled = (prefix) => [1, 2, 3].map((n) => ({ const: `value${n}`, title: `${prefix} ${n}` }));
const options = ["option1", "option2", "option3"];
const FORMS = {
  test_elicitation: object({ username: string(), email: string() }, ["username", "email"]),
  test_elicitation_sep1034_defaults: object({
    name: string({ default: "John Doe" }),
    age: { type: "integer", default: 30 },
    score: { type: "number", default: 95.5 },
    status: string({ enum: ["active", "inactive", "pending"], default: "active" }),
    verified: { type: "boolean", default: true },
  }),
  test_elicitation_sep1330_enums: object({
    untitledSingle: string({ enum: options }),
    titledSingle: string({ oneOf: titled("Option") }),
    legacyEnum: string({ enum: ["opt1", "opt2"], enumNames: ["Option One", "Option Two"] }),
    untitledMulti: { type: "array", items: string({ enum: options }) },
    titledMulti: { type: "array", items: { anyOf: titled("Choice") } },
  }),
};

const server = new Server(
  { name: "conformance", version: "1" },
  { capabilities: { completions: {}, logging: {}, prompts: {}, resources: { subscribe: true }, tools: {} } },
);

async function elicit(tool, { message = "Who are you?" }) {
  const answer = await server.elicitInput({ message, requestedSchema: FORMS[tool] });
  return content(text(`Elicitation completed: action=${answer.action}, content=${JSON.stringify(answer.content)}`));
}

const TOOLS = {
  test_simple_text: () => content(text("This is a simple text response for testing.")),
  test_image_content: () => content(image),
  test_audio_content: () => content(audio),
  test_embedded_resource: () => content(embedded("test://embedded", "text/plain", "Embedded.")),
  test_multiple_content_types: () => content(text("Several:"), image, embedded("test://mixed", "application/json", "{}")),
  test_tool_with_logging: async () => {
    for (const data of ["started", "processing", "completed"]) {
      await server.sendLoggingMessage({ level: "info", data });
      await pause();
    }
    return content(text("Logged."));
  },
  test_tool_with_progress: async (_tool, _arguments, { _meta, sendNotification }) => {
    for (const progress of [0, 50, 100]) {
      const params = { progressToken: _meta.progressToken, progress, total: 100 };
      await sendNotification({ method: "notifications/progress", params });
      await pause();
    }
    return content(text("Done."));
  },
  test_error_handling: () => ({ isError: true, content: [text("This tool intentionally returns an error for testing")] }),
  test_sampling: async (_tool, { prompt }) => {
    const answer = await server.createMessage({ messages: [{ role: "user", content: text(prompt) }], maxTokens: 100 });
    return content(text(`LLM response: ${answer.content.text}`));
  },
  test_elicitation: elicit,
  test_elicitation_sep1034_defaults: elicit,
  test_elicitation_sep1330_enums: elicit,
  test_reconnection: async () => (await pause(), content(text("Reconnected."))),
  json_schema_2020_12_tool: () => content(text("Valid.")),
};
const SCHEMAS = {
  test_sampling: object({ prompt: string() }, ["prompt"]),
  test_elicitation: object({ message: string() }, ["message"]),
  json_schema_2020_12_tool: {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    ...object({ name: string(), address: { $ref: "#/$defs/address" } }),
    $defs: { address: object({ street: string(), city: string() }) },
    additionalProperties: false,
  },
};

const RESOURCES = {
  "test://static-text": { mimeType: "text/plain", text: "This is the content of the static text resource." },
  "test://static-binary": { mimeType: "image/png", blob: PNG },
  "test://watched-resource": { mimeType: "text/plain", text: "Watched." },
};
const TEMPLATE = /^test:\/\/template\/([^/]+)\/data$/;

const user = (item) => ({ role: "user", content: item });
const PROMPTS = {
  test_simple_prompt: [[], () => [user(text("This is a simple prompt for testing."))]],
  test_prompt_with_arguments: [["arg1", "arg2"], ({ arg1, arg2 }) => [user(text(`arg1='${arg1}', arg2='${arg2}'`))]],
  test_prompt_with_embedded_resource: [
    ["resourceUri"],
    ({ resourceUri }) => [user(embedded(resourceUri, "text/plain", "Embedded.")), user(text("Process it."))],
  ],
  test_prompt_with_image: [[], () => [user(image), user(text("Analyse it."))]],
};

function known(table, key, kind) {
  if (!Object.hasOwn(table, key)) throw new types.McpError(types.ErrorCode.InvalidParams, `no ${kind} ${key}`);
  return table[key];
}

server.setRequestHandler(types.ListToolsRequestSchema, () => ({
  tools: Object.keys(TOOLS).map((name) => ({ name, description: name, inputSchema: SCHEMAS[name] ?? object({}) })),
}));
server.setRequestHandler(types.CallToolRequestSchema, ({ params }, extra) =>
  known(TOOLS, params.name, "tool")(params.name, params.arguments ?? {}, extra),
);
server.setRequestHandler(types.ListResourcesRequestSchema, () => ({
  resources: Object.entries(RESOURCES).map(([uri, { mimeType }]) => ({ uri, name: uri, description: uri, mimeType })),
}));
server.setRequestHandler(types.ListResourceTemplatesRequestSchema, () => ({
  resourceTemplates: [{ uriTemplate: "test://template/{id}/data", name: "template", mimeType: "application/json" }],
}));
server.setRequestHandler(types.ReadResourceRequestSchema, ({ params: { uri } }) => {
  const [, id] = TEMPLATE.exec(uri) ?? [];
  const found = id ? { mimeType: "application/json", text: JSON.stringify({ id }) } : known(RESOURCES, uri, "resource");
  return { contents: [{ uri, ...found }] };
});
server.setRequestHandler(types.SubscribeRequestSchema, () => ({}));
server.setRequestHandler(types.UnsubscribeRequestSchema, () => ({}));
server.setRequestHandler(types.ListPromptsRequestSchema, () => ({
  prompts: Object.entries(PROMPTS).map(([name, [names]]) => ({
    name,
    description: name,
    arguments: names.map((argument) => ({ name: argument, required: true })),
  })),
}));
server.setRequestHandler(types.GetPromptRequestSchema, ({ params }) => ({
  messages: known(PROMPTS, params.name, "prompt")[1](params.arguments ?? {}),
}));
server.setRequestHandler(types.CompleteRequestSchema, () => ({ completion: { values: ["one"], total: 1, hasMore: false } }));

server.connect(new StdioServerTransport());
