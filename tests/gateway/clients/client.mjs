// fetch of Node, with its defaults.
const base = process.argv[2];
const body = JSON.stringify({ account: "abc", amount: 100 });
const headers = { "Content-Type": "application/json" };
const made = await fetch(`${base}/v1/payments/node`, { method: "POST", headers, body });
const head = await fetch(`${base}/v1/payments/node/events`, { method: "HEAD" });
const read = await fetch(`${base}/v1/accounts/abc`);
const gone = await fetch(`${base}/v1/payments/node/cancel`, { method: "POST" });
const events = await fetch(`${base}/v1/payments/node/events`);
const { value } = await events.body.getReader().read();
const first = new TextDecoder().decode(value).split("\n")[0];
console.log([made.status, head.status, read.status, gone.status, first].join(" "));
process.exit(0);
