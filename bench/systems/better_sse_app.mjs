// The application measured as `better-sse`: node better_sse_app.mjs PORT DIRECTORY BACKLOG, with the package installed in DIRECTORY.
//
// Kinder to the library than most applications are: the event's JSON goes out as it came, without JSON.stringify per client.
import { createServer } from "node:http";
import { createRequire } from "node:module";

const [port, directory, backlog] = process.argv.slice(2);
const { createChannel, createSession } = createRequire(`${directory}/`)("better-sse");
const channel = createChannel();
let number = 0;

const stream = async (request, response) => {
  const session = await createSession(request, response, { serializer: (text) => text });
  channel.register(session);
};

const publish = (request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    channel.broadcast(Buffer.concat(parts).toString(), "message", { eventId: String(++number) });
    response.writeHead(204).end();
  });
};

createServer((request, response) => (request.method === "GET" ? stream : publish)(request, response)).listen({
  port: Number(port),
  host: "127.0.0.1",
  backlog: Number(backlog),
});
