// Reads {"source": text of a module, "cases": [...]} on standard input: the cases of tests/data/wire_cases.json. Feeds each
// to the module's Decoder, byte by byte and whole, and prints what came out, as JSON.
import { text } from "node:stream/consumers";

const { source, cases } = JSON.parse(await text(process.stdin));
const { Decoder } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

function read({ streams, max_line: max }, size) {
  const decoder = new Decoder({ max });
  const events = [];
  let error = false;
  for (const stream of streams) {
    const bytes = Uint8Array.from(stream, (character) => character.charCodeAt(0));
    try {
      for (let at = 0; at < bytes.length; at += size) events.push(...decoder.feed(bytes.subarray(at, at + size)));
    } catch (fault) {
      if (!(fault instanceof RangeError)) throw fault;
      error = true;
    }
    decoder.close();
  }
  return { events, error, last_event_id: decoder.lastEventId, retry: decoder.retry };
}

process.stdout.write(JSON.stringify(cases.map((each) => [read(each, 1), read(each, Infinity)])));
