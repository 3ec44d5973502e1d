// Node's own servers: ACCESS_LOG=FILE node server.js http|http2 PORT
const { openSync, writeSync } = require("node:fs");
const [module_, port] = process.argv.slice(2);
const { createServer } = require(`node:${module_}`);

const statuses = { item: 200, missing: 404, broken: 500, empty: 204 };
const log = openSync(process.env.ACCESS_LOG, "a");

createServer((request, response) => {
  const status = statuses[request.url.split("/")[1]] ?? 404;
  writeSync(log, `${request.headers["x-record"] ?? -1} ${status} HTTP/${request.httpVersion}\n`);
  response.writeHead(status);
  response.end(status === 204 ? undefined : `${request.url}, one of many`); // of no length
}).listen(Number(port), "127.0.0.1");
