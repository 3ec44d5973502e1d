// Node's own HTTP server: ACCESS_LOG=FILE node server.js PORT
const { openSync, writeSync } = require("node:fs");
const { createServer } = require("node:http");

const statuses = { item: 200, missing: 404, broken: 500, empty: 204 };
const log = openSync(process.env.ACCESS_LOG, "a");

createServer((request, response) => {
  const status = statuses[request.url.split("/")[1]] ?? 404;
  writeSync(log, `${request.headers["x-record"] ?? -1} ${status}\n`);
  response.writeHead(status);
  response.end(status === 204 ? undefined : `${request.url}, one of many`); // chunked, as Node does by itself
}).listen(Number(process.argv[2]), "127.0.0.1");
