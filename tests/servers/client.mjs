// Clients that Node has of its own; the one that is named prints what it got as JSON.
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";

const API = "https://api.example.com";
const SERVICES = "https://api.example.com:8443";

function whole(message) {
  return new Promise((resolve, reject) => {
    const pieces = [];
    message.on("data", (piece) => pieces.push(piece));
    message.on("end", () => resolve(JSON.parse(Buffer.concat(pieces).toString())));
    message.on("error", reject);
  });
}

const clients = {
  async fetch() {
    const answers = [];
    for (const url of [API, "http://api.example.com"]) {
      const response = await fetch(`${url}/fetch`, { method: "POST", body: "x".repeat(70000) });
      answers.push(await response.json());
    }
    return answers;
  },

  async https() {
    const agent = new https.Agent({ keepAlive: true });
    const answers = [];
    for (let i = 0; i < 3; i++) {
      const message = await new Promise((resolve, reject) =>
        https.get(`${API}/https`, { agent }, resolve).on("error", reject),
      );
      answers.push(await whole(message));
    }
    const plain = await new Promise((resolve, reject) =>
      http.get("http://api.example.com/http", resolve).on("error", reject),
    );
    answers.push(await whole(plain));
    agent.destroy();
    return answers;
  },

  async http2() {
    const session = http2.connect(API);
    const answers = await Promise.all(
      [...Array(20).keys()].map((number) => whole(session.request({ ":path": `/${number}` }))),
    );
    session.close();
    return answers.map((answer) => [answer.version, answer.path]);
  },

  async events() {
    const response = await fetch(`${API}/events`);
    let text = "";
    for await (const piece of response.body) text += Buffer.from(piece).toString();
    return text.split("\n").filter((line) => line);
  },

  async together() {
    const agent = new https.Agent({ maxSockets: 200 });
    const one = () =>
      new Promise((resolve, reject) =>
        https.get(`${SERVICES}/together/200`, { agent }, (message) => {
          message.resume();
          message.on("end", () => resolve(message.statusCode));
        }).on("error", reject),
      );
    return Promise.all([...Array(200).keys()].map(one));
  },

  async refused(url) {
    try {
      await fetch(url, { signal: AbortSignal.timeout(20000) });
      return "no error";
    } catch (error) {
      return error.cause ? error.cause.code : error.name;
    }
  },
};

console.log(JSON.stringify(await clients[process.argv[2]](...process.argv.slice(3))));
