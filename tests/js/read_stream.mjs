// Reads {"chunks": [base64, ...]} on standard input, feeds the chunks to eventsource-parser as they are cut, and prints the
// events it makes of them, and the reconnection times, as JSON.
import { text } from "node:stream/consumers";
import { createParser } from "eventsource-parser";

const events = [];
const retries = [];
const errors = [];
const parser = createParser({
  onEvent: (event) => events.push([event.event ?? "message", event.data, event.id ?? null]),
  onRetry: (milliseconds) => retries.push(milliseconds),
  onError: (error) => error.type !== "unknown-field" && errors.push(String(error)),
});
const decoder = new TextDecoder();
for (const chunk of JSON.parse(await text(process.stdin)).chunks) {
  parser.feed(decoder.decode(Buffer.from(chunk, "base64"), { stream: true }));
}
process.stdout.write(JSON.stringify({ events, retries, errors }));
