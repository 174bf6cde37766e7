// k6 with its defaults. It reads a body whole, so a stream of events ends by its timeout.
import http from "k6/http";

const base = __ENV.BASE;
const headers = { "Content-Type": "application/json" };

export const options = { vus: 1, iterations: 1 };

export default function () {
  const body = JSON.stringify({ account: "abc", amount: 100 });
  const made = http.post(`${base}/v1/payments/k6`, body, { headers });
  const head = http.head(`${base}/v1/payments/k6/events`);
  const read = http.get(`${base}/v1/accounts/abc`);
  const gone = http.post(`${base}/v1/payments/k6/cancel`);
  const events = http.get(`${base}/v1/payments/k6/events`, { timeout: "500ms" });
  console.log([made, head, read, gone, events].map((answer) => answer.status).join(" "));
}
