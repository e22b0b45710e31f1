// Sends what it reads, one JSON object of strings a line, with
// lumberjack-protocol: version 1, in the window frames of which there is one
// for each connection.
//
// Arguments: host, port, events of a window, the authority's certificate, and
// a certificate and key of one's own.
const fs = require("node:fs");
const { createRequire } = require("node:module");
const installed = createRequire(`${process.env.CLIENTS}/package.json`);
const ClientSocket = installed("lumberjack-protocol/lib/ClientSocket");

const [host, port, window, ca, cert, key] = process.argv.slice(2);
const events = fs.readFileSync(0, "utf8").trimEnd().split("\n").map((line) => JSON.parse(line));
const socket = new ClientSocket({ windowSize: Number(window), allowDrop: () => false });
socket.on("error", (error) => {
  console.error(String(error));
  process.exit(1);
});
socket.on("end", () => process.exit(1));
socket.on("ack", (sequence) => {
  if (sequence >= events.length) {
    process.exit(0);
  }
});
socket.on("connect", () => {
  for (const event of events) {
    socket.writeDataFrame(event, () => {});
  }
});
const [authority, own, secret] = [ca, cert, key].map((file) => fs.readFileSync(file));
socket.connect({ host, port: Number(port), ca: authority, cert: own, key: secret, servername: "localhost" });
